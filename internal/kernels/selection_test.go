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
		skip: "^(Fuzz|TestDecideNobody|TestMachine|TestOtherVLAN|TestResolve(Doubtful|Fails|Late)|TestAnswererVLAN|TestTableTenThousand)",
		why:  "what is left out waits for answers that do not come, or asks nothing of the kernel",
	},
	"bpf": {
		run: "^(TestAttach|TestAuto|TestCapabilities|TestExpected|TestKernel|TestNewFilter|TestObjectPaths)",
		// Frame by frame, the corpus on a socket: TestKernelTestRun has it without.
		skip: "^(TestKernelLive|TestKernelDatagram)$",
		why:  "what is left out compares its compilations in user space",
	},
	"bpf/pcapfilter": {run: "^TestKernel", why: "what is left out makes programs"},
	"capture": {
		skip: "^(Fuzz|TestOpenInFlood|TestRingAllocates|TestReceiveAllocates)",
		why:  "what is left out reads bytes, or floods the host",
	},
	"capture/pcapng": {why: "it reads and writes files"},
	"cmd/l2ping": {
		run: "^(TestCapabilities|TestScripts|TestSetcap|TestUserNamespace|TestInterface|TestCarrierLoss|TestNeighborMoves)",
		skip: "^TestScripts$/^(ability|arping.*|broadcast|budget|capture.*|demo|ends|errors|groups|help|histogram|hosts.*|ipv6-wire|json|loopback|" +
			"losses|names|netns|output|override|route|routed|send.*|signals|sizes|text|unreachable|verbose|wire)$",
		why: "what is left out is about flags and words, or about peers that are scripted",
	},
	"cmd/l2ping/internal/render": {why: "it makes text"},
	"internal/kernels":           {run: "^TestNetem", why: "what is left out is about reading results"},
	"internal/lab": {
		run: "^(TestBond|TestBridge|TestIPVLAN|TestKind|TestMacvlan|TestMove|TestMultipath|TestNetem|TestPPP|TestRouted|" +
			"TestSetARP|TestTeam|TestTun|TestVLAN|TestVRF|TestVXLAN|TestWireGuard$)",
		why: "what is left out is about its scripted peer",
	},
	"internal/sock":         {skip: "^TestLoopLosesNothing$", why: "what is left out takes long"},
	"internal/timestamping": {why: "it reads what was recorded"},
	"l2/frame":              {why: "it makes and reads bytes"},
	"probe": {
		run:  "^(TestExchange(AnswerFor|InUserNamespace|InterfaceVanishes|Linux|NoLink|VLAN)|TestInUserNamespace|TestNew|TestPing|TestAnswer|TestRun)",
		skip: "^TestPingPaces$",
		why:  "what is left out runs on a clock of its own",
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
