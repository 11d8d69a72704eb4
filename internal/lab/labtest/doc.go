// Package labtest is the part of the lab that needs package testing: a TestMain
// that keeps the tests off the machine's own network ([Guard]) and finds what a
// package leaves behind, requirements that skip with the fix or fail where they
// should hold, and topologies that end with their test.
//
// The variable L2PING_TEST_REQUIRE says what must not be skipped: "root" or
// "netns" (which root includes). L2PING_TEST_KINDS says which kinds of links the
// kernel must have: see [RequireKind].
package labtest
