package lab

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The generic netlink of team (linux/if_team.h).
const (
	teamFamily     = "team"
	teamVersion    = 1
	teamOptionsSet = 1 // TEAM_CMD_OPTIONS_SET

	teamAttrIndex   = 1 // TEAM_ATTR_TEAM_IFINDEX
	teamAttrOptions = 2 // TEAM_ATTR_LIST_OPTION
	teamItemOption  = 1 // TEAM_ATTR_ITEM_OPTION
	teamOptionName  = 1 // TEAM_ATTR_OPTION_NAME
	teamOptionType  = 3 // TEAM_ATTR_OPTION_TYPE
	teamOptionData  = 4 // TEAM_ATTR_OPTION_DATA
)

// Types of a team's options (net/netlink.h, NLA_U32 and NLA_STRING).
const (
	teamU32    = 3
	teamString = 5
)

// AddTeam makes an active-backup team, down, with those ports, which it sets down
// first, for the kernel takes no others, and up again (team_port_add). All bear the
// MAC of the first: the kernel leaves that to who makes the team (teamd.conf(5),
// hwaddr_policy). Until SetActive names the active port nothing passes it. The
// kernel needs team and team_mode_activebackup.
func (n *Namespace) AddTeam(ifname string, ports ...string) error {
	if err := n.addLink("team", &netlink.GenericLink{LinkAttrs: named(ifname), LinkType: "team"}); err != nil {
		return err
	}
	// The mode is changed as long as there is no port (team_change_mode). A
	// kernel without it finds nothing of that name.
	err := lacks("team", n.setTeam(ifname, "mode", teamString, []byte("activebackup\x00")), unix.EINVAL)
	if err != nil || len(ports) == 0 {
		return err
	}
	mac, err := n.MAC(ports[0])
	if err != nil {
		return err
	}
	for _, port := range ports {
		if err := n.SetDown(port); err != nil {
			return err
		}
	}
	for _, one := range append([]string{ifname}, ports[1:]...) {
		if err := n.SetMAC(one, mac); err != nil {
			return err
		}
	}
	return n.setMasterOf(ifname, ports)
}

// setTeam sets an option of a team.
func (n *Namespace) setTeam(ifname, option string, kind uint8, data []byte) error {
	return n.onLink(ifname, "set "+option+" of team", func(_ *netlink.Handle, l netlink.Link) error {
		err := n.generic(teamFamily, teamOptionsSet, teamVersion, teamAttributes(l.Attrs().Index, option, kind, data)...)
		if errors.Is(err, unix.ESRCH) {
			// It is set, but nobody listens to the kernel's news of it
			// (team_nl_send_event_options_get).
			return nil
		}
		return err
	})
}

// teamAttributes are those of TEAM_CMD_OPTIONS_SET.
func teamAttributes(index int, name string, kind uint8, data []byte) []*nl.RtAttr {
	list := nl.NewRtAttr(teamAttrOptions|unix.NLA_F_NESTED, nil)
	option := list.AddRtAttr(teamItemOption|unix.NLA_F_NESTED, nil)
	option.AddRtAttr(teamOptionName, append([]byte(name), 0))
	option.AddRtAttr(teamOptionType, []byte{kind})
	option.AddRtAttr(teamOptionData, data)
	return []*nl.RtAttr{
		nl.NewRtAttr(teamAttrIndex, binary.NativeEndian.AppendUint32(nil, uint32(index))), list,
	}
}
