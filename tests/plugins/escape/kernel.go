package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var kernelAttacks = []attack{
	{id: "15a", name: "unshare a user namespace", run: unshares(unix.CLONE_NEWUSER)},
	{id: "15b", name: "unshare a mount namespace", run: unshares(unix.CLONE_NEWNS)},
	{id: "15c", name: "unshare a pid namespace", run: unshares(unix.CLONE_NEWPID)},
	{id: "15d", name: "unshare a network namespace", run: unshares(unix.CLONE_NEWNET)},
	{id: "15e", name: "unshare ipc, uts, cgroup or time", run: func(p *params) result {
		var r result
		for _, flag := range []int{unix.CLONE_NEWIPC, unix.CLONE_NEWUTS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWTIME} {
			if r = unshares(flag)(p); r.Outcome == opened {
				break
			}
		}
		return r
	}},
	{id: "15f", name: "clone into a user namespace", run: func(*params) result {
		return attempt("clone", func() (uintptr, syscall.Errno) {
			pid, errno := call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(syscall.SIGCHLD))
			if errno == 0 && pid == 0 {
				rawExit(0)
			}
			return pid, errno
		})
	}},
	{id: "15g", name: "clone3 into a user namespace", run: clone3},
	{id: "15h", name: "mount in a new user namespace", run: func(*params) result {
		none, dir, kind := text("none"), text(os.TempDir()), text("tmpfs")
		return attempt("unshare and mount", func() (uintptr, syscall.Errno) {
			if value, errno := call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_NEWNS); errno != 0 {
				return value, errno
			}
			return call(unix.SYS_MOUNT, none, dir, kind)
		})
	}},
	{id: "16a", name: "enter the mount namespace of pid 1", run: func(*params) result { return enters("/proc/1/ns/mnt") }},
	{id: "16b", name: "enter a host process's network namespace", run: withHost(func(p *params) result { return enters(proc(p.HostPID, "ns/net")) })},
	{id: "16c", name: "enter its own network namespace", run: func(*params) result { return enters("/proc/self/ns/net") }},
	{id: "16d", name: "enter a host process's namespaces by pidfd", run: withHost(func(p *params) result {
		fd, err := unix.PidfdOpen(p.HostPID, 0)
		if err != nil {
			return refused("pidfd_open: ", err)
		}
		defer func() { _ = unix.Close(fd) }()
		return attempt("setns", func() (uintptr, syscall.Errno) { return call(unix.SYS_SETNS, uintptr(fd), unix.CLONE_NEWNS) })
	})},
	{id: "17a", name: "bpf: make a map", run: func(*params) result {
		attributes := at(&[16]uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 8, 1})
		return descriptor(unix.SYS_BPF, unix.BPF_MAP_CREATE, attributes, 64)
	}},
	{id: "17b", name: "bpf: load a program", run: func(*params) result {
		// r0 = 0; exit: a socket filter that drops all.
		program, licence := at(&[2]uint64{0xb7, 0x95}), text("MIT")
		attributes := at(&[16]uint64{uint64(unix.BPF_PROG_TYPE_SOCKET_FILTER) | 2<<32, uint64(program), uint64(licence)})
		return descriptor(unix.SYS_BPF, unix.BPF_PROG_LOAD, attributes, 128)
	}},
	{id: "17c", name: "perf_event_open of itself", run: func(*params) result { return perf(0, -1) }},
	{id: "17d", name: "perf_event_open of a processor", run: func(*params) result { return perf(-1, 0) }},
	{id: "17e", name: "userfaultfd", run: func(*params) result { return descriptor(unix.SYS_USERFAULTFD, unix.O_CLOEXEC) }},
	{id: "17f", name: "userfaultfd, user mode only", run: func(*params) result { return descriptor(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }},
	{id: "17g", name: "io_uring_setup", run: func(*params) result { return descriptor(unix.SYS_IO_URING_SETUP, 4, at(&[30]uint32{})) }},
	{id: "17h", name: "fanotify_init", run: func(*params) result { return descriptor(unix.SYS_FANOTIFY_INIT, unix.FAN_CLOEXEC, unix.O_RDONLY) }},
	{id: "18a", name: "add a key to the user's keyring", run: func(*params) result {
		id, err := unix.AddKey("user", "gk-escape", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return judge(err, "key %d", id)
	}},
	{id: "18b", name: "find the user's keyring", run: func(*params) result {
		id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
		return judge(err, "keyring %d", id)
	}},
	{id: "18c", name: "request a key", run: func(*params) result {
		kind, name := text("user"), text("gk-escape-absent")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_REQUEST_KEY, kind, name, 0, 0) }, syscall.ENOKEY)
	}},
	{id: "20a", name: "init_module", run: func(*params) result {
		garbage, none := text("garbage"), text("")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_INIT_MODULE, garbage, 7, none) }, syscall.ENOEXEC)
	}},
	{id: "20b", name: "finit_module", run: func(*params) result {
		none := text("")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_FINIT_MODULE, ^uintptr(0), none, 0) }, syscall.EBADF)
	}},
	{id: "20c", name: "delete_module", run: func(*params) result {
		name := text("gk_absent")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_DELETE_MODULE, name, unix.O_NONBLOCK) }, syscall.ENOENT)
	}},
	{id: "20d", name: "kexec_load", run: func(*params) result {
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xffff) }, syscall.EINVAL)
	}},
	{id: "20e", name: "reboot", run: func(*params) result {
		// A wrong magic number, which is looked at after the right.
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_REBOOT, 1, 2, 0) }, syscall.EINVAL)
	}},
	{id: "20f", name: "swapon", run: func(*params) result {
		path := text("/gk-absent")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_SWAPON, path, 0) }, syscall.ENOENT)
	}},
	{id: "20g", name: "swapoff", run: func(*params) result {
		path := text("/gk-absent")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_SWAPOFF, path) }, syscall.ENOENT)
	}},
	{id: "20h", name: "settimeofday", run: func(*params) result {
		// The time zone that every kernel has.
		zone := at(&[2]int32{0, 0})
		return attempt("settimeofday", func() (uintptr, syscall.Errno) { return call(unix.SYS_SETTIMEOFDAY, 0, zone) })
	}},
	{id: "20i", name: "clock_settime", run: func(*params) result {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
			return refused("", err)
		}
		time := at(&now)
		return attempt("the time that it is", func() (uintptr, syscall.Errno) { return call(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, time) })
	}},
	{id: "20j", name: "iopl", run: func(*params) result {
		return attempt("iopl", func() (uintptr, syscall.Errno) { return call(unix.SYS_IOPL, 3) })
	}},
	{id: "20k", name: "ioperm", run: func(*params) result {
		return attempt("ioperm", func() (uintptr, syscall.Errno) { return call(unix.SYS_IOPERM, 0x80, 1, 1) })
	}},
	{id: "20l", name: "quotactl", run: quotactl},
	{id: "20m", name: "acct", run: func(*params) result {
		// Off, which it is.
		return attempt("acct", func() (uintptr, syscall.Errno) { return call(unix.SYS_ACCT, 0) })
	}},
	{id: "21a", name: "sethostname", run: func(*params) result {
		name, err := os.Hostname()
		if err != nil {
			return refused("", err)
		}
		return judge(unix.Sethostname([]byte(name)), "%q again", name)
	}},
	{id: "21b", name: "setdomainname", run: func(*params) result {
		var names unix.Utsname
		if err := unix.Uname(&names); err != nil {
			return refused("", err)
		}
		name := []byte(unix.ByteSliceToString(names.Domainname[:]))
		return judge(unix.Setdomainname(name), "%q again", name)
	}},
	{id: "23", name: "personality: READ_IMPLIES_EXEC, no randomisation", run: func(*params) result {
		return attempt("personality", func() (uintptr, syscall.Errno) {
			if value, errno := call(unix.SYS_PERSONALITY, 0x0440000); errno != 0 {
				return value, errno
			}
			now, errno := call(unix.SYS_PERSONALITY, 0xffffffff)
			if errno == 0 && now&0x0440000 == 0 {
				return now, syscall.EPERM
			}
			return now, errno
		})
	}},
	{id: "24a", name: "a system call of x32", run: func(*params) result { return otherABI(x32Getpid) }},
	{id: "24b", name: "a system call of i386: int 0x80", run: func(*params) result { return otherABI(i386Getpid) }},
	{id: "29a", name: "TIOCSTI on a terminal", run: stuffTerminal},
	{id: "29b", name: "TIOCLINUX on the console", run: console},
}

func unshares(flag int) func(*params) result {
	return func(*params) result {
		return attempt(fmt.Sprintf("unshare %#x", flag), func() (uintptr, syscall.Errno) { return call(unix.SYS_UNSHARE, uintptr(flag)) })
	}
}

func clone3(*params) result {
	arguments := at(&[8]uint64{unix.CLONE_NEWUSER, 0, 0, 0, uint64(syscall.SIGCHLD)})
	return attempt("clone3", func() (uintptr, syscall.Errno) {
		pid, errno := call(unix.SYS_CLONE3, arguments, 64)
		if errno == 0 && pid == 0 {
			rawExit(0)
		}
		return pid, errno
	})
}

func enters(path string) result {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = unix.Close(fd) }()
	return attempt("setns", func() (uintptr, syscall.Errno) { return call(unix.SYS_SETNS, uintptr(fd), 0) })
}

// descriptor makes a system call that answers a descriptor.
func descriptor(number uintptr, arguments ...uintptr) result {
	fd, errno := call(number, arguments...)
	if errno != 0 {
		return denied("", errno)
	}
	_ = unix.Close(int(fd))
	return open("descriptor %d", fd)
}

func perf(pid, processor int) result {
	attributes := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
	attributes.Size = uint32(unsafe.Sizeof(attributes))
	fd, err := unix.PerfEventOpen(&attributes, pid, processor, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	return judge(err, "descriptor %d", fd)
}

func quotactl(*params) result {
	// Quotas on for a file that is not there, of every disk: the right is looked at first.
	file := text("/gk-absent")
	r := refused("no block device", nil)
	for _, disk := range []string{"/dev/vda", "/dev/sda", "/dev/nvme0n1p1", "/dev/loop0"} {
		if _, err := os.Stat(disk); err != nil {
			continue
		}
		special := text(disk)
		r = attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_QUOTACTL, 0x80000200, special, 2, file) }, syscall.ENOENT, syscall.ESRCH, syscall.EINVAL)
		if r.Outcome == opened {
			break
		}
	}
	return r
}

func otherABI(getpid func() (int, bool)) result {
	if getpid == nil {
		return absent("this processor has no other calling convention")
	}
	own := os.Getpid()
	value, errno, ended := forked(func() (uintptr, syscall.Errno) {
		pid, known := getpid()
		if !known {
			return 0, syscall.ENOSYS
		}
		if pid < 0 {
			return 0, syscall.Errno(-pid)
		}
		return uintptr(pid), 0
	})
	switch {
	case ended != "":
		return result{Outcome: blocked, Detail: ended}
	case errno != 0:
		return denied("", errno)
	case int(value) < 2 || int(value) == own:
		return holds("getpid answers %d", value)
	default:
		return open("getpid answers %d", value)
	}
}

func stuffTerminal(*params) result {
	letter := [1]byte{'x'}
	stuff := func(fd int) syscall.Errno {
		_, errno := call(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&letter[0])))
		return errno
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		if errno := stuff(0); errno == 0 {
			return open("into stdin")
		} else {
			return denied("no terminal: "+err.Error()+"; stdin", errno)
		}
	}
	defer func() { _ = terminal.Close() }()
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err != nil {
		return refused("TIOCGPTN: ", err)
	}
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return refused("TIOCSPTLCK: ", err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = side.Close() }()
	if errno := stuff(int(side.Fd())); errno != 0 {
		return denied("TIOCSTI", errno)
	}
	return open("a letter into /dev/pts/%d", number)
}

func console(*params) result {
	const tiocLinux = 0x541c
	r := refused("there is no console", nil)
	for _, path := range []string{"/dev/tty0", "/dev/tty1", "/dev/console", "/dev/tty"} {
		file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
		if err != nil {
			r = refused("", err)
			continue
		}
		// 6 asks for the state of the shift keys.
		subcode := [1]byte{6}
		_, errno := call(unix.SYS_IOCTL, file.Fd(), tiocLinux, uintptr(unsafe.Pointer(&subcode[0])))
		_ = file.Close()
		if errno == 0 {
			return open("%s", path)
		}
		r = denied(path, errno)
	}
	return r
}
