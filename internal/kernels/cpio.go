package kernels

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// cpioAlign is what names and data are padded to a multiple of.
const cpioAlign = 4

// The types of files, as the mode of a cpio header has them (S_IFMT of
// inode(7)).
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
)

// An Archive is an initramfs being written, in the format "newc" of cpio(5),
// which is all that the kernel reads (Documentation/driver-api/early-userspace/
// buffer-format.rst). All files are root's. Names have no leading slash.
type Archive struct {
	w     io.Writer
	inode int
	made  map[string]bool
	err   error // the first
}

// NewArchive begins an archive. Close must be called.
func NewArchive(w io.Writer) *Archive {
	return &Archive{w: w, made: map[string]bool{".": true}}
}

// Dir makes a directory, and those above it, with mode 0755.
func (a *Archive) Dir(name string) { a.dir(path.Clean(name), 0o755) }

// TemporaryDir makes a directory that everybody may write to, as /tmp.
func (a *Archive) TemporaryDir(name string) { a.dir(path.Clean(name), 0o1777) }

func (a *Archive) dir(name string, mode int) {
	if a.made[name] {
		return
	}
	a.made[name] = true
	a.dir(path.Dir(name), 0o755)
	a.entry(name, typeDir|mode, 0, nil)
}

// Symlink makes a symbolic link.
func (a *Archive) Symlink(name, target string) {
	a.dir(path.Dir(name), 0o755)
	a.entry(name, typeSymlink|0o777, int64(len(target)), strings.NewReader(target))
}

// File makes a file of these bytes.
func (a *Archive) File(name string, mode fs.FileMode, data []byte) {
	a.dir(path.Dir(name), 0o755)
	a.entry(name, typeFile|int(mode.Perm()), int64(len(data)), strings.NewReader(string(data)))
}

// Copy makes a file as the one at source is.
func (a *Archive) Copy(name, source string) {
	if a.err != nil {
		return
	}
	f, err := os.Open(source)
	if err != nil {
		a.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		a.err = err
		return
	}
	a.dir(path.Dir(name), 0o755)
	a.entry(name, typeFile|int(info.Mode().Perm()), info.Size(), f)
}

// Tree copies the files of a folder, but for those that skip says; a folder that
// is skipped is not looked into.
func (a *Archive) Tree(name, source string, skip func(d fs.DirEntry) bool) {
	if a.err != nil {
		return
	}
	a.Dir(name)
	err := filepath.WalkDir(source, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip(d) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		inside, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(inside))
		switch {
		case d.IsDir():
			a.Dir(to)
		case d.Type().IsRegular():
			a.Copy(to, file)
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

// Close ends the archive and returns the first error that any call had.
func (a *Archive) Close() error {
	a.entry("TRAILER!!!", 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	return nil
}

func (a *Archive) entry(name string, mode int, size int64, data io.Reader) {
	if a.err != nil {
		return
	}
	a.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, // inode, mode, uid, gid, links, mtime
		size, 0, 0, 0, 0, len(name)+1, 0, // size, devices, length of the name, check
		name)
	if a.write(strings.NewReader(header), int64(len(header))); data != nil {
		a.write(data, size)
	}
}

// write writes size bytes, and the padding behind them.
func (a *Archive) write(data io.Reader, size int64) {
	if a.err != nil {
		return
	}
	if _, a.err = io.CopyN(a.w, data, size); a.err == nil {
		_, a.err = a.w.Write(make([]byte, (cpioAlign-size%cpioAlign)%cpioAlign))
	}
}
