package kernels

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"strings"
)

// A Module is a part of a kernel that is loaded when it runs.
type Module struct {
	Name string // with underscores, as the kernel has it
	Data []byte // the ELF object, uncompressed
}

// Modules returns the named modules and all that they depend on, in an order in
// which they can be loaded. dir is a kernel's folder below /lib/modules. A name
// that is built into the kernel is left out; one that is nowhere is an error.
//
// Packages of Debian come without modules.dep, which depmod(8) writes as they
// are installed, so the modules are asked for what they depend on. Compressed
// ones need the program xz.
func Modules(ctx context.Context, dir fs.FS, names []string) ([]Module, error) {
	builtin, err := fs.ReadFile(dir, "modules.builtin")
	if err != nil {
		return nil, fmt.Errorf("read kernel's modules: %w", err)
	}
	l := &loader{dir: dir, files: map[string]string{}, placed: map[string]bool{}}
	for line := range strings.Lines(string(builtin)) {
		l.placed[moduleName(strings.TrimSpace(line))] = true
	}
	err = fs.WalkDir(dir, "kernel", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			l.files[moduleName(name)] = name
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read kernel's modules: %w", err)
	}
	for _, name := range names {
		if err := l.place(ctx, name); err != nil {
			return nil, err
		}
	}
	return l.order, nil
}

// moduleName is the name of the module in a file such as
// kernel/net/8021q/8021q.ko.xz. The kernel takes a hyphen for an underscore.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

type loader struct {
	dir    fs.FS
	files  map[string]string // by the module's name
	placed map[string]bool
	order  []Module
}

func (l *loader) place(ctx context.Context, name string) error {
	if l.placed[name] {
		return nil
	}
	l.placed[name] = true
	file, ok := l.files[name]
	if !ok {
		return fmt.Errorf("module %s: %w in this kernel", name, fs.ErrNotExist)
	}
	data, err := l.read(ctx, file)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	depends, err := dependsOn(data)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	for _, other := range depends {
		if err := l.place(ctx, other); err != nil {
			return fmt.Errorf("%s needs %w", name, err)
		}
	}
	l.order = append(l.order, Module{Name: name, Data: data})
	return nil
}

func (l *loader) read(ctx context.Context, file string) ([]byte, error) {
	data, err := fs.ReadFile(l.dir, file)
	if err != nil || path.Ext(file) == ".ko" {
		return data, err
	}
	if path.Ext(file) != ".xz" {
		return nil, fmt.Errorf("%s is not compressed by xz", path.Base(file))
	}
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout")
	cmd.Stdin = bytes.NewReader(data)
	data, err = cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("decompress: %w (apt-get install xz-utils)", err)
	}
	return data, nil
}

// dependsOn reads what modpost noted in a module: "depends=" with the names of
// others, in the section .modinfo of strings that each end with a zero byte.
func dependsOn(object []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		list, ok := strings.CutPrefix(entry, "depends=")
		if !ok || list == "" {
			continue
		}
		names := strings.Split(list, ",")
		for i, name := range names {
			names[i] = moduleName(name)
		}
		return names, nil
	}
	return nil, nil
}
