package kernels

import "time"

// Names in the guest.
const (
	// InitName is the program that the kernel starts, of package guest.
	InitName = "init"
	// PlanName is the file with the Plan, in JSON.
	PlanName = "plan.json"
	// ResultsPort is the device that Messages are written to, one line of JSON
	// each. The kernel's own console is the port before it.
	ResultsPort = "/dev/ttyS1"
)

// A Plan is what the guest does.
type Plan struct {
	Modules []string // files, loaded in this order
	Steps   []Step   // run one after the other: they share queues of the kernel
}

// A Step is one program that the guest runs as root.
type Step struct {
	Name string
	Dir  string // where it runs
	Args []string
	Env  []string
	// Limit ends it, first by SIGQUIT, for which a Go program says where it
	// is.
	Limit time.Duration
}

// A Message is what the guest tells; of its parts it has one, and the step's
// name with those of a step.
type Message struct {
	Release string `json:",omitempty"` // first of all: the kernel's, as uname -r has it
	Step    string `json:",omitempty"`
	Output  string `json:",omitempty"` // of both standard output and error
	Ended   *Ended `json:",omitempty"` // last of a step
	Fault   string `json:",omitempty"` // why the guest gave up
	Done    bool   `json:",omitempty"` // last of all
}

// Ended says how a step ended.
type Ended struct {
	Error   string // empty if its exit status was 0
	Elapsed time.Duration
}
