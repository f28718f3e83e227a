package pid1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// checkLoader makes sure that the kernel will find what runs the program at path:
// the interpreter of a script, the dynamic loader of an ELF file. execve(2) says
// only "no such file" for either, and a command that replaces init has been
// announced as running by then. What it does not understand is left to the kernel.
func checkLoader(path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil // it may be executable without being readable
	}
	defer file.Close()
	head := make([]byte, 256) // BINPRM_BUF_SIZE: what the kernel looks at
	n, _ := io.ReadFull(file, head)
	head = head[:n]
	loader := scriptInterpreter(head)
	switch {
	case loader != "":
	case strings.HasPrefix(string(head), "\x7fELF"):
		loader = elfInterpreter(file, head)
	default:
		return fmt.Errorf("command %q is no program for this machine, nor a script (one begins with #! and its interpreter)", path)
	}
	if loader == "" {
		return nil
	}
	if _, err := os.Stat(loader); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("command %q needs %q to run it, which is not in the container", path, loader)
	}
	return nil
}

// scriptInterpreter is the program behind #! (execve(2), "Interpreter scripts").
func scriptInterpreter(head []byte) string {
	line, found := strings.CutPrefix(string(head), "#!")
	if !found {
		return ""
	}
	line, _, _ = strings.Cut(line, "\n")
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// Offsets in a 64-bit ELF file (elf(5)).
const (
	elfHeaderSize        = 64
	elfProgramHeaderSize = 56
	elfInterpreterType   = 3 // PT_INTERP
)

// elfInterpreter is the dynamic loader of a 64-bit little-endian ELF file; "" for
// a static one and for everything else.
func elfInterpreter(file io.ReaderAt, head []byte) string {
	const class64, littleEndian = 2, 1
	if len(head) < elfHeaderSize || head[4] != class64 || head[5] != littleEndian {
		return ""
	}
	order := binary.LittleEndian
	offset, count := order.Uint64(head[32:]), order.Uint16(head[56:])
	for i := range uint64(count) {
		header := make([]byte, elfProgramHeaderSize)
		if _, err := file.ReadAt(header, int64(offset+i*elfProgramHeaderSize)); err != nil {
			return ""
		}
		if order.Uint32(header) != elfInterpreterType {
			continue
		}
		size := order.Uint64(header[32:])
		if size > unix.PathMax {
			return ""
		}
		name := make([]byte, size)
		if _, err := file.ReadAt(name, int64(order.Uint64(header[8:]))); err != nil {
			return ""
		}
		return strings.TrimRight(string(name), "\x00")
	}
	return ""
}
