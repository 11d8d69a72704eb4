// Package kernels boots other Linux kernels than the one at hand, Debian's, in
// an emulated machine, and runs this project's tests and its command in them as
// root. It is the whole of make test-kernels.
//
// The machine is of qemu-system-x86_64 and computes every instruction by
// software, so it needs neither KVM nor privileges. It has no network device and
// no disk: it starts from an archive in memory, and tells its results over a
// serial port.
package kernels
