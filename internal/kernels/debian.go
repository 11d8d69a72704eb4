package kernels

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A Debian is a kernel package of Debian for 64-bit x86.
type Debian struct {
	// Series is the kernel's version up to what changes by mere fixes.
	Series string
	// Metapackage depends on the newest package of the series.
	Metapackage string
}

// Kernels are those of Debian 12: its own, and the one of Debian 13 in it. The
// smaller flavor for virtual machines lacks ppp.
var Kernels = []Debian{
	{Series: "6.1", Metapackage: "linux-image-amd64"},
	{Series: "6.12", Metapackage: "linux-image-6.12-amd64"},
}

var (
	dependsLine = regexp.MustCompile(`(?m)^ +Depends: (linux-image-(\S+))$`)
	sha256Line  = regexp.MustCompile(`(?m)^SHA256: ([0-9a-f]{64})$`)
)

// Fetch returns the path of the newest package of a kernel that apt-get(8) knows
// of. The package is kept in the folder cache, and fetched only if it is not
// there as the archive's index describes it. Nothing is installed, and no
// privileges are needed.
func (d Debian) Fetch(ctx context.Context, cache string) (string, error) {
	file, err := d.fetch(ctx, cache)
	if err != nil {
		return "", fmt.Errorf("fetch Linux %s: %w", d.Series, err)
	}
	return file, nil
}

func (d Debian) fetch(ctx context.Context, cache string) (string, error) {
	out, err := output(ctx, "", "apt-cache", "depends", "--important", d.Metapackage)
	if err != nil {
		return "", fmt.Errorf("%w (Debian 12 has it; sudo apt-get update)", err)
	}
	found := dependsLine.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("package %s depends on no kernel", d.Metapackage)
	}
	name, version := string(found[1]), string(found[2])
	if !strings.HasPrefix(version, d.Series+".") {
		return "", fmt.Errorf("package %s is of Linux %s: this is not Debian 12", d.Metapackage, version)
	}
	out, err = output(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", err
	}
	if found = sha256Line.FindSubmatch(out); found == nil {
		return "", fmt.Errorf("package %s: the index has no SHA-256 of it", name)
	}
	sum := string(found[1])
	file := filepath.Join(cache, name+"_"+sum+".deb")
	if got, err := sumOf(file); err == nil && got == sum {
		return file, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// A folder of its own, for apt-get picks the name; and what is not all
	// there yet is not in the cache.
	dir, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if _, err := output(ctx, dir, "apt-get", "download", "-q", name); err != nil {
		return "", fmt.Errorf("%w (sudo apt-get update)", err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages, %v", name, len(debs), err)
	}
	if got, err := sumOf(debs[0]); err != nil || got != sum {
		return "", fmt.Errorf("package %s has the SHA-256 %s, and %s by the index: %v", name, got, sum, err)
	}
	d.forget(cache)
	return file, os.Rename(debs[0], file)
}

// forget removes older packages of the series.
func (d Debian) forget(cache string) {
	old, _ := filepath.Glob(filepath.Join(cache, "linux-image-"+d.Series+".*.deb"))
	for _, file := range old {
		os.Remove(file) // else it only takes up room
	}
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// An Image is a kernel, unpacked.
type Image struct {
	Release string   // as uname -r has it
	Kernel  string   // the path of the bootable kernel
	Modules []Module // in an order in which they can be loaded
}

// Unpack unpacks a kernel's package into the folder dir, which is there already,
// and picks the modules of these names with what they depend on.
func Unpack(ctx context.Context, deb, dir string, modules []string) (*Image, error) {
	if _, err := output(ctx, "", "dpkg-deb", "--extract", deb, dir); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	kernels, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("package %s has %d kernels, %v", filepath.Base(deb), len(kernels), err)
	}
	image := &Image{Kernel: kernels[0]}
	image.Release = strings.TrimPrefix(filepath.Base(image.Kernel), "vmlinuz-")
	root, err := os.OpenRoot(filepath.Join(dir, "lib", "modules", image.Release))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	defer root.Close()
	if image.Modules, err = Modules(ctx, root.FS(), modules); err != nil {
		return nil, fmt.Errorf("modules of Linux %s: %w", image.Release, err)
	}
	return image, nil
}

// output runs a program in a folder and returns its standard output. An error
// has what it wrote to standard error.
func output(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}
