// Package sock holds packet sockets outside of the Go runtime's poller.
//
// A socket that the runtime polls wakes one of its threads for every frame,
// though another thread, waiting in ppoll, will take the frame. On a path whose
// cost is counted in microseconds this doubles the wake-ups. So a socket that
// mdlayher/packet has opened and bound is taken over by its descriptor: one
// thread waits in ppoll and reads with recvmmsg.
package sock
