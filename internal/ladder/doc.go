// Package ladder has the test that holds the order of the packages: each
// imports only what stands below it, and what one room alone may know stays in
// that room.
package ladder
