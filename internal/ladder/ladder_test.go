package ladder

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/l2ping/l2ping"

// rungs are the packages from the ground up; a package may import those of lower
// rungs. A folder stands for all that is below it, unless it is named itself.
var rungs = []string{
	"l2/frame",
	"internal/sock",
	"internal/timestamping",
	"l2",
	"bpf",
	"capture",
	"arp",
	"probe",
	"internal/lab", // imports none of them, and only commands and tests import it
	"internal/ladder",
	"internal/interop",
	"internal/bench",
	"internal/kernels", // imports none of the project's
	"cmd",
}

// rooms says which packages alone may import a module.
var rooms = map[string][]string{
	"github.com/cilium/ebpf":                {"bpf", "internal/lab"}, // filters; the lab's senders and answerers
	"github.com/vishvananda/netlink":        {"l2", "arp", "internal/lab"},
	"github.com/vishvananda/netns":          {"internal/lab"},
	"github.com/gopacket/gopacket":          {"capture/pcapng", "internal/lab", "internal/bench", "cmd"},
	"github.com/mdlayher/packet":            {"internal/sock"},
	"github.com/mdlayher/ethernet":          {"l2/frame"},
	"github.com/spf13/cobra":                {"cmd"},
	"github.com/HdrHistogram":               {"probe"},
	"testing":                               {"internal/lab/labtest", "internal/interop"},
	"os/exec":                               {"internal/lab", "internal/bench", "internal/interop", "internal/kernels", "cmd"},
	"github.com/l2ping/l2ping/internal/lab": {"internal/bench", "internal/interop", "cmd", "internal/lab/labtest"},
}

// rung returns the place of a package on the ladder, -1 if it has none.
func rung(pkg string) int {
	for p := pkg; p != "."; p = path.Dir(p) {
		if i := slices.Index(rungs, p); i >= 0 {
			return i
		}
	}
	return -1
}

// within tells whether a package is one of the folders, or below one.
func within(pkg string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return pkg == f || strings.HasPrefix(pkg, f+"/")
	})
}

// source calls f with each Go file of the project that is no test.
func source(t *testing.T, f func(pkg, name string, file *ast.File)) {
	t.Helper()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root {
			// A folder with a go.mod of its own is another module.
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			if err == nil || d.Name() == ".git" {
				return filepath.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		files++
		f(filepath.ToSlash(pkg), name, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Fatalf("only %d files found: is this the project's tree?", files)
	}
}

func TestImportsPointDown(t *testing.T) {
	source(t, func(pkg, name string, file *ast.File) {
		from := rung(pkg)
		if from < 0 {
			t.Errorf("%s: package %s has no place on the ladder", name, pkg)
			return
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			inside, ours := strings.CutPrefix(imported, module+"/")
			if !ours || within(inside, []string{pkg}) {
				continue
			}
			if to := rung(inside); to > from || to == from && !within(pkg, []string{rungs[to]}) {
				t.Errorf("%s: %s imports %s, which stands above it", name, pkg, inside)
			}
		}
	})
}

func TestRoomsKeepTheirModules(t *testing.T) {
	source(t, func(pkg, name string, file *ast.File) {
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for mod, folders := range rooms {
				if (imported == mod || strings.HasPrefix(imported, mod+"/")) && !within(pkg, folders) && !within(pkg, []string{strings.TrimPrefix(mod, module+"/")}) {
					t.Errorf("%s: %s imports %s; only %s may", name, pkg, imported, strings.Join(folders, ", "))
				}
			}
		}
	})
}

// TestOnlyCommandsPrintOrExit looks for the calls by their names.
func TestOnlyCommandsPrintOrExit(t *testing.T) {
	forbidden := map[string][]string{
		"fmt": {"Print", "Printf", "Println"},
		"os":  {"Exit", "Stdout", "Stderr"},
		"log": {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln"},
	}
	source(t, func(pkg, name string, file *ast.File) {
		if within(pkg, []string{"cmd", "internal/bench", "internal/kernels/guest", "internal/lab/labtest"}) {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(forbidden[x.Name], sel.Sel.Name) {
				t.Errorf("%s: %s.%s: only commands print or exit", name, x.Name, sel.Sel.Name)
			}
			return true
		})
	})
}
