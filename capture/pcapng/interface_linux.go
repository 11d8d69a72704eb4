package pcapng

import "github.com/l2ping/l2ping/l2"

// InterfaceOf is what an interface tells of itself.
func InterfaceOf(ifc *l2.Interface) Interface {
	i := Interface{Name: ifc.Name, MAC: ifc.MAC, LinkType: LinkEthernet, OS: "Linux"}
	if ifc.NoLink {
		i.LinkType = LinkRaw
	}
	return i
}
