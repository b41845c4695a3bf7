package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var identityAttacks = []attack{
	{id: "22a", name: "setuid 0", run: func(*params) result {
		return attempt("uid 0", func() (uintptr, syscall.Errno) {
			if value, errno := call(unix.SYS_SETRESUID, 0, 0, 0); errno != 0 {
				return value, errno
			}
			if uid, _ := call(unix.SYS_GETEUID); uid != 0 {
				return uid, syscall.EPERM
			}
			return 0, 0
		})
	}},
	{id: "22b", name: "setgid 0", run: func(*params) result {
		return attempt("gid 0", func() (uintptr, syscall.Errno) { return call(unix.SYS_SETRESGID, 0, 0, 0) })
	}},
	{id: "22c", name: "setgroups", run: func(*params) result {
		group := at(&[1]uint32{42})
		return attempt("group 42 (shadow, as a rule)", func() (uintptr, syscall.Errno) { return call(unix.SYS_SETGROUPS, 1, group) })
	}},
	{id: "22d", name: "run a setuid program", run: setuidProgram},
	{id: "22e", name: "hold or raise capabilities", run: raiseCapabilities},
	{id: "22f", name: "have children with capabilities", run: func(*params) result {
		header, held := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		if err := unix.Capget(&header, &held[0]); err != nil {
			return refused("capget: ", err)
		}
		held[0].Inheritable |= 1 << unix.CAP_NET_RAW
		which, sets := at(&header), at(&held)
		return attempt("an ambient capability", func() (uintptr, syscall.Errno) {
			if value, errno := call(unix.SYS_CAPSET, which, sets); errno != 0 {
				return value, errno
			}
			return call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW)
		})
	}},
	{id: "22g", name: "make a setuid program", run: makeSetuid},
}

// setuidProgram looks for one that would get root's rights here: that it is there, that it runs, and that neither
// the file system nor the process forbids the change.
func setuidProgram(*params) result {
	r := refused("no setuid program is to be seen", nil)
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/lib/dbus-1.0", "/usr/lib/openssh"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || info.Mode()&os.ModeSetuid == 0 {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || set == 1 {
				r = refused(path+" is there, and no_new_privs is set", err)
				continue
			}
			var stat unix.Statfs_t
			if err := unix.Statfs(path, &stat); err != nil || stat.Flags&unix.MS_NOSUID != 0 {
				r = refused(path+" is on a file system that is nosuid", err)
				continue
			}
			err = exec.Command(path, "--version").Run()
			var ended *exec.ExitError
			if err == nil || errors.As(err, &ended) {
				return open("%s runs", path)
			}
			r = refused(path+": ", err)
		}
	}
	return r
}

func raiseCapabilities(*params) result {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var held [2]unix.CapUserData
	if err := unix.Capget(&header, &held[0]); err != nil {
		return refused("capget: ", err)
	}
	if held[0].Permitted|held[1].Permitted != 0 {
		held[0].Effective, held[1].Effective = held[0].Permitted, held[1].Permitted
		return judge(unix.Capset(&header, &held[0]), "%08x%08x are effective", held[1].Effective, held[0].Effective)
	}
	wanted := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	return judge(unix.Capset(&header, &wanted[0]), "CAP_SYS_ADMIN")
}

// makeSetuid makes a setuid copy of this program: for another user who can run it, where it is root's.
func makeSetuid(*params) result {
	path := filepath.Join(os.TempDir(), "setuid")
	if err := os.WriteFile(path, dropped, 0o700); err != nil {
		return refused("", err)
	}
	defer func() { _ = os.Remove(path) }()
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		return refused("chmod: ", err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil || stat.Uid != 0 {
		return holds("it is a setuid program of user %d", stat.Uid)
	}
	var system unix.Statfs_t
	if err := unix.Statfs(path, &system); err != nil || system.Flags&unix.MS_NOSUID != 0 {
		return holds("its file system is nosuid")
	}
	uidMap, _ := os.ReadFile("/proc/self/uid_map")
	if fields := strings.Fields(string(uidMap)); len(fields) > 1 && fields[1] != "0" {
		return holds("its root is user %s outside", fields[1])
	}
	return open("%s is setuid root", path)
}
