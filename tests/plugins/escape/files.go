package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var fileAttacks = []attack{
	{id: "1a", name: "read /etc/shadow", run: func(*params) result { return reads("/etc/shadow") }},
	{id: "1b", name: "list /root", run: func(*params) result { return lists("/root") }},
	{id: "1c", name: "write into /root", run: func(*params) result { return plants("/root") }},
	{id: "1d", name: "read a file of the host's data", run: func(p *params) result {
		if p.SecretFile == "" {
			return needs("secret_file")
		}
		return secret(p, "the file")(os.ReadFile(p.SecretFile))
	}},
	{id: "2a", name: "list another plugin's directory", run: other(lists)},
	{id: "2b", name: "read another plugin's manifest", run: other(func(dir string) result { return reads(filepath.Join(dir, "plugin.yaml")) })},
	{id: "2c", name: "write into another plugin's directory", run: other(plants)},
	{id: "11a", name: "write core_pattern", run: func(*params) result { return rewrites("/proc/sys/kernel/core_pattern") }},
	{id: "11b", name: "write a setting of the kernel's memory", run: func(*params) result { return rewrites("/proc/sys/vm/overcommit_memory") }},
	{id: "11c", name: "write modprobe's path", run: func(*params) result { return rewrites("/proc/sys/kernel/modprobe") }},
	{id: "11d", name: "write into /sys", run: func(*params) result { return rewrites("/sys/kernel/mm/transparent_hugepage/enabled") }},
	{id: "11e", name: "make a cgroup", run: makeCgroup},
	{id: "12a", name: "open sysrq-trigger for writing", run: func(*params) result { return opens("/proc/sysrq-trigger", os.O_WRONLY) }},
	{id: "12b", name: "read the kernel's log: /dev/kmsg", run: func(*params) result { return opens("/dev/kmsg", os.O_RDONLY|syscall.O_NONBLOCK) }},
	{id: "12c", name: "read the kernel's log: syslog", run: func(*params) result {
		buffer := make([]byte, 4096)
		n, err := unix.Klogctl(3, buffer)
		return judge(err, "%d bytes", n)
	}},
	{id: "12d", name: "read /proc/keys", run: func(*params) result { return reads("/proc/keys") }},
	{id: "12e", name: "read the kernel's memory: /proc/kcore", run: func(*params) result { return opens("/proc/kcore", os.O_RDONLY) }},
	{id: "12f", name: "read the kernel's addresses", run: kernelAddresses},
	{id: "13a", name: "write read-only memory through /proc/self/mem", run: func(*params) result { return writeMem(unix.PROT_READ) }},
	{id: "13b", name: "write code through /proc/self/mem", run: func(*params) result { return writeMem(unix.PROT_READ | unix.PROT_EXEC) }},
	{id: "30a", name: "write into a directory of the host", run: func(p *params) result {
		if p.OutsideDir == "" {
			return needs("outside_dir")
		}
		return plants(p.OutsideDir)
	}},
	{id: "30b", name: "write into the host's /tmp", run: func(p *params) result { return shared("/tmp", p.TmpMarker) }},
	{id: "30c", name: "write into /var/tmp", run: func(*params) result { return plants("/var/tmp") }},
	{id: "30d", name: "write into the host's /dev/shm", run: func(p *params) result { return shared("/dev/shm", p.ShmMarker) }},
	{id: "30e", name: "write into /", run: func(*params) result { return plants("/") }},
	{id: "30f", name: "write into /etc", run: func(*params) result { return plants("/etc") }},
	{id: "30g", name: "write into /usr/bin", run: func(*params) result { return plants("/usr/bin") }},
	{id: "30h", name: "write outside through a link", run: linkOut},
	{id: "30i", name: "a hard link to a file outside", run: hardLink},
	{id: "30j", name: "write outside by climbing", run: func(p *params) result {
		if p.OutsideDir == "" {
			return needs("outside_dir")
		}
		return plants(os.TempDir() + strings.Repeat("/..", 32) + p.OutsideDir)
	}},
}

func other(attack func(string) result) func(*params) result {
	return func(p *params) result {
		if p.OtherPluginDir == "" {
			return needs("other_plugin_dir")
		}
		return attack(p.OtherPluginDir)
	}
}

// secret judges what was read by whether the outside's text is in it.
func secret(p *params, where string) func([]byte, error) result {
	return func(read []byte, err error) result {
		switch {
		case err != nil:
			return refused("", err)
		case p.Secret != "" && bytes.Contains(read, []byte(p.Secret)):
			return open("%s says the secret", where)
		default:
			return holds("%d bytes without the secret", len(read))
		}
	}
}

func reads(path string) result {
	data, err := os.ReadFile(path)
	if err == nil && len(data) == 0 {
		return holds("%s is empty", path)
	}
	return judge(err, "%d bytes of %s", len(data), path)
}

func lists(path string) result {
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) == 0 {
		return holds("%s is empty", path)
	}
	return judge(err, "%d entries of %s", len(entries), path)
}

// opens judges by the right to open alone.
func opens(path string, flags int) result {
	fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC, 0)
	if err == nil {
		_ = syscall.Close(fd)
	}
	return judge(err, "%s is open", path)
}

// plants makes a file, reads it again and removes it.
func plants(dir string) result {
	path := filepath.Clean(dir) + fmt.Sprintf("/.gk-escape-%d", os.Getpid())
	if strings.Contains(dir, "/..") {
		path = dir + fmt.Sprintf("/.gk-escape-%d", os.Getpid())
	}
	if err := os.WriteFile(path, []byte("planted"), 0o600); err != nil {
		return refused("", err)
	}
	defer func() { _ = os.Remove(path) }()
	read, err := os.ReadFile(path)
	if err == nil && string(read) != "planted" {
		return holds("%s reads back as something else", path)
	}
	return judge(err, "%s was written", path)
}

// rewrites writes what is there already.
func rewrites(path string) result {
	value, err := os.ReadFile(path)
	if err != nil {
		return refused("", err)
	}
	// Of choices, the chosen one stands in brackets.
	if _, after, found := bytes.Cut(value, []byte("[")); found {
		value, _, _ = bytes.Cut(after, []byte("]"))
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = file.Close() }()
	_, err = file.Write(value)
	return judge(err, "%s was written with its own value", path)
}

func makeCgroup(*params) result {
	var last error
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*", "/proc/self/root/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			path := filepath.Join(dir, fmt.Sprintf("gk-escape-%d", os.Getpid()))
			if err := os.Mkdir(path, 0o700); err != nil {
				last = err
				continue
			}
			_, err := os.Stat(filepath.Join(path, "cgroup.procs"))
			_ = os.Remove(path)
			if err == nil {
				return open("%s", path)
			}
		}
	}
	if last == nil {
		return refused("no cgroup hierarchy is to be seen", nil)
	}
	return refused("", last)
}

func kernelAddresses(*params) result {
	data, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return refused("", err)
	}
	for line := range bytes.Lines(data) {
		address, _, _ := bytes.Cut(line, []byte(" "))
		if len(bytes.Trim(address, "0")) > 0 {
			return open("%s", bytes.TrimSpace(line))
		}
	}
	return refused("all addresses are 0", nil)
}

func writeMem(protection int) result {
	page, err := unix.Mmap(-1, 0, 4096, protection, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return refused("mmap: ", err)
	}
	defer func() { _ = unix.Munmap(page) }()
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = mem.Close() }()
	if _, err := mem.WriteAt([]byte("overwritten"), int64(uintptr(unsafe.Pointer(&page[0])))); err != nil {
		return refused("", err)
	}
	if !bytes.HasPrefix(page, []byte("overwritten")) {
		return holds("the page is as it was")
	}
	return open("a page that may not be written was")
}

// shared writes into a directory that every sandbox may have one of; the marker is in the host's.
func shared(dir, marker string) result {
	r := plants(dir)
	if r.Outcome != opened || marker == "" {
		return r
	}
	if _, err := os.Stat(marker); err != nil {
		return holds("%s can be written and is not the host's: %v", dir, err)
	}
	return r
}

func linkOut(p *params) result {
	if p.OutsideDir == "" {
		return needs("outside_dir")
	}
	link := filepath.Join(os.TempDir(), fmt.Sprintf("link-out-%d", os.Getpid()))
	if err := os.Symlink(p.OutsideDir, link); err != nil {
		return refused("symlink: ", err)
	}
	defer func() { _ = os.Remove(link) }()
	return plants(link)
}

func hardLink(p *params) result {
	if p.SecretFile == "" {
		return needs("secret_file")
	}
	link := filepath.Join(os.TempDir(), fmt.Sprintf("hard-link-%d", os.Getpid()))
	if err := os.Link(p.SecretFile, link); err != nil {
		return refused("link: ", err)
	}
	defer func() { _ = os.Remove(link) }()
	return secret(p, "the link")(os.ReadFile(link))
}
