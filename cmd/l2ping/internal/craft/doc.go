// Package craft makes the frames that `l2ping send` sends: from an expression in
// scapy's manner, or from hexadecimal digits. It opens no socket: what the kernel's
// path has to say it asks an Env.
//
// An expression is what scapy would be given, for the layers that this package
// has: layers joined by /, fields by name with Python's literals, sets (lists,
// ranges as tuples, prefixes) that multiply in scapy's order. What is left out
// is filled as scapy fills it: its defaults, lengths, checksums, and the type
// that each layer gives for the next. What is given stays as given, wrong or
// not. The tests hold the bytes to be scapy's own.
//
// Where it differs from scapy:
//
//   - An expression that starts with IP, IPv6, ARP, Dot1Q or Dot1AD gets an Ether
//     ahead of it, unless the link has none. One that starts with bytes is a frame
//     made by hand.
//   - A value that does not fit its field is an error, and so is a name that would
//     have to be looked up.
//   - A MAC as text in BOOTP's chaddr is that MAC.
//   - ARP without a destination in Ether goes to hwdst where that is given, and
//     else as a request to everybody.
//   - A list of flags is a set of values, as of any other field; scapy joins them.
//   - A tuple of two addresses is the range between them, and a list of DNS records
//     stands for all of them in one message, as in scapy since 2.6.
package craft
