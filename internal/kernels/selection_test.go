//go:build kernels && linux

package kernels

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
)

// whole has every test run, which takes many minutes: go test -tags kernels
// -timeout 30m ./internal/kernels -whole.
var whole = flag.Bool("whole", false, "run all tests of each package, not only those that another kernel may change")

// only picks steps, for who works on one of them: go test -tags kernels
// ./internal/kernels -run TestKernels/6.12 -steps '^(l2|capture)$'.
var only = flag.String("steps", "", "run only the steps whose names match this regular expression")

// leftOut are packages that use the lab and are not run here, with the reason.
var leftOut = map[string]string{
	"internal/bench": "it is about its peers, which are programs of Debian",
}

// A choice is what runs of a package: an emulated machine is twenty times slower,
// and shows of code that asks nothing of the kernel what make test has shown.
type choice struct {
	run  string // the tests, as -test.run has them
	skip string // of those, or of all; without either none runs
	why  string
}

// choices are those of packages that do not run as a whole.
var choices = map[string]choice{
	"arp": {
		skip: "^(Fuzz|TestAdvertised|TestAnnounced|TestDecideNobody|TestMachine|TestOtherVLAN|TestResolve(Doubtful|Fails|Forged|Late)|" +
			"TestAnswererVLAN|TestResponder(Duplicate|VLAN)|TestTableTenThousand)",
		why: "what is left out waits for answers that do not come, or is about what scripted peers say",
	},
	"bpf": {
		run: "^(TestAttach|TestAuto|TestCapabilities|TestExpected|TestKernel|TestNewFilter|TestObjectPaths)",
		// Frame by frame, the corpus on a socket: TestKernelTestRun has it without.
		skip: "^(TestKernelLive|TestKernelDatagram)$",
		why:  "what is left out compares its compilations in user space",
	},
	"bpf/pcapfilter": {
		// Of the corpus TestKernelLive has what a kernel may see otherwise: tags and
		// directions. Of classic programs' arithmetic TestKernelTraps has the corners.
		run: "^TestKernel(Live|Traps)$",
		why: "what is left out makes programs, or runs them on the corpus",
	},
	"capture": {
		skip: "^(Fuzz|TestOpenInFlood|TestRingAllocates|TestReceiveAllocates)",
		why:  "what is left out reads bytes, or floods the host",
	},
	"capture/pcapng": {why: "it reads and writes files"},
	"cmd/l2ping": {
		// The kernel's notices (TestInterface, TestCarrierLoss, TestNeighborMoves) are
		// those of TestWatch in l2 and of the scripts changes, midrun and remade, and
		// file capabilities (TestSetcap) those of TestCapabilities once a program has
		// them. The links are those that kernels lack on which make test runs.
		run: "^(TestCapabilities|TestScripts|TestUserNamespace)$",
		skip: "^TestScripts$/^(ability|arping.*|broadcast|budget|capture.*|demo|ends|errors|foreign|groups|help|histogram|hosts.*|ipv6|ipv6-wire|json|link-(bridge|macvlan|noarp|tun|vxlan)|loopback|" +
			"losses|names|netns|output|override|route|routed|send|send-[^w].*|signals|sizes|sizes-routed|text|unreachable|verbose|wire)$",
		why: "what is left out is about flags and words, or about peers that are scripted, or is to be seen in l2",
	},
	"cmd/l2ping/internal/render": {why: "it makes text"},
	"internal/kernels":           {run: "^TestNetem", why: "what is left out is about reading results"},
	"internal/lab": {
		run: "^(TestBond|TestIPVLAN|TestKind|TestNetem|TestPPP|TestRouted|TestSwallowing|TestTeam|TestTun|TestVLAN|TestVRF|TestWireGuard$)",
		why: "what is left out is about its scripted peer, or about links that make test has too",
	},
	"internal/sock/classic": {
		// The corpus is that of a machine in user space, held against the kernel's.
		skip: "^(TestMachineAgrees|TestRunDoesNotAllocate)$",
		why:  "what is left out is about the machine that does without the kernel",
	},
	"internal/sock":         {skip: "^TestLoopLosesNothing$", why: "what is left out takes long"},
	"internal/timestamping": {why: "it reads what was recorded"},
	"l2/frame":              {why: "it makes and reads bytes"},
	"probe": {
		// What a user namespace changes is the filter, which is classic then: that is
		// run with Classic here, and as a whole by TestUserNamespace of the command.
		run:  "^(TestExchange(AnswerFor|InterfaceVanishes|Linux|NoLink|VLAN|VRF)|TestNew|TestPing|TestAnswer|TestRun)",
		skip: "^(TestPingPaces|TestPingWithoutEvidence)$",
		why:  "what is left out runs on a clock of its own, or once more in a user namespace",
	},
}

// chosen returns the flags of a package's tests; ok is false if none of them is to
// run. It tells what is left out.
func chosen(name string) (flags []string, ok bool) {
	c, partly := choices[name]
	switch {
	case leftOut[name] != "":
		fmt.Printf("%s does not run: %s\n", name, leftOut[name])
		return nil, false
	case *whole || !partly:
		return nil, true
	case c.run == "" && c.skip == "":
		fmt.Printf("%s runs with -whole alone: %s\n", name, c.why)
		return nil, false
	}
	fmt.Printf("%s runs in part, without -whole: %s\n", name, c.why)
	if c.run != "" {
		flags = append(flags, "-test.run="+c.run)
	}
	if c.skip != "" {
		flags = append(flags, "-test.skip="+c.skip)
	}
	return flags, true
}

// pick leaves the steps that were asked for.
func pick(steps []Step) ([]Step, error) {
	asked, err := regexp.Compile(*only)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(steps, func(s Step) bool { return !asked.MatchString(s.Name) }), nil
}
