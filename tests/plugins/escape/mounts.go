package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var mountAttacks = []attack{
	{id: "9a", name: "mount a tmpfs", run: func(*params) result { return mounts("tmpfs", unix.TMPFS_MAGIC) }},
	{id: "9b", name: "mount a proc", run: func(*params) result { return mounts("proc", unix.PROC_SUPER_MAGIC) }},
	{id: "9c", name: "mount a sysfs", run: func(*params) result { return mounts("sysfs", unix.SYSFS_MAGIC) }},
	{id: "9d", name: "bind / elsewhere", run: bindRoot},
	{id: "9e", name: "remount / writable", run: remountRoot},
	{id: "9f", name: "unmount", run: unmount},
	{id: "9g", name: "fsopen and fsmount a tmpfs", run: fsopen},
	{id: "9h", name: "open_tree of /", run: openTree},
	{id: "9i", name: "mount_setattr of /", run: mountSetattr},
	{id: "9j", name: "pivot_root", run: func(*params) result {
		// / onto itself is refused for what it is, once the right is there.
		root := text("/")
		return attemptShort(func() (uintptr, syscall.Errno) { return call(unix.SYS_PIVOT_ROOT, root, root) }, syscall.EBUSY, syscall.EINVAL)
	}},
	{id: "9k", name: "chroot", run: func(*params) result {
		dir := text(os.TempDir())
		return attempt("chroot", func() (uintptr, syscall.Errno) { return call(unix.SYS_CHROOT, dir) })
	}},
	{id: "10a", name: "make and open a block device", run: func(*params) result { return makeDevice(unix.S_IFBLK, 7, 0) }},
	{id: "10b", name: "make and open a character device", run: func(*params) result { return makeDevice(unix.S_IFCHR, 1, 11) }},
	{id: "10c", name: "open a disk", run: openDisk},
	{id: "19a", name: "open_by_handle_at of /", run: func(*params) result { return byHandle("/") }},
	{id: "19b", name: "open_by_handle_at of its own file", run: func(*params) result { return byHandle(os.TempDir()) }},
	{id: "19c", name: "open_by_handle_at with a handle made up", run: madeUpHandle},
}

func mountPoint() (string, func(), error) {
	dir, err := os.MkdirTemp("", "mount-")
	return dir, func() { _ = os.Remove(dir) }, err
}

func mounts(kind string, magic int64) result {
	dir, remove, err := mountPoint()
	if err != nil {
		return refused("", err)
	}
	defer remove()
	if err := unix.Mount("none", dir, kind, 0, ""); err != nil {
		return refused("", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil || int64(stat.Type) != magic {
		return holds("the file system is of type %x: %v", stat.Type, err)
	}
	return open("%s at %s", kind, dir)
}

func bindRoot(*params) result {
	dir, remove, err := mountPoint()
	if err != nil {
		return refused("", err)
	}
	defer remove()
	if err := unix.Mount("/", dir, "", unix.MS_BIND, ""); err != nil {
		return refused("", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	return lists(dir)
}

func remountRoot(*params) result {
	var stat unix.Statfs_t
	if err := unix.Statfs("/", &stat); err != nil {
		return refused("statfs: ", err)
	}
	// All flags as they are, but for read-only.
	keep := uintptr(stat.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	return judge(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|keep, ""), "remounted")
}

func unmount(*params) result {
	dir, remove, err := mountPoint()
	if err != nil {
		return refused("", err)
	}
	defer remove()
	if unix.Mount("none", dir, "tmpfs", 0, "") == nil {
		return judge(unix.Unmount(dir, 0), "what it mounted itself")
	}
	// The first MNT_EXPIRE on a mount does nothing but check the right.
	err = unix.Unmount("/proc", unix.MNT_EXPIRE)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EBUSY) {
		return open("allowed for /proc; this attempt only marked it")
	}
	return judge(err, "/proc")
}

func fsopen(*params) result {
	context, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return refused("fsopen: ", err)
	}
	defer func() { _ = unix.Close(context) }()
	if err := unix.FsconfigCreate(context); err != nil {
		return refused("fsconfig: ", err)
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(mount)
	}
	return judge(err, "a mount")
}

func openTree(*params) result {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	return judge(err, "a copy of the mount at /")
}

func mountSetattr(*params) result {
	err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	return judge(err, "read-only is taken away")
}

func makeDevice(kind uint32, major, minor uint32) result {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("device-%d-%d", os.Getpid(), kind))
	if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return refused("", err)
	}
	defer func() { _ = os.Remove(path) }()
	if r := opens(path, os.O_RDONLY|syscall.O_NONBLOCK); r.Outcome == opened {
		return r
	} else if r.Errno != "ENXIO" && r.Errno != "ENODEV" {
		return holds("made, and not opened: %s", r.Detail)
	}
	return open("made; the device itself is not there")
}

func openDisk(*params) result {
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return refused("", err)
	}
	result := refused("there is no block device in /dev", nil)
	for _, entry := range entries {
		if entry.Type()&os.ModeDevice == 0 || entry.Type()&os.ModeCharDevice != 0 {
			continue
		}
		if result = opens("/dev/"+entry.Name(), os.O_RDONLY|syscall.O_NONBLOCK); result.Outcome == opened {
			break
		}
	}
	return result
}

func byHandle(path string) result {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return refused("name_to_handle_at: ", err)
	}
	mount, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return refused("open: ", err)
	}
	defer func() { _ = unix.Close(mount) }()
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	return judge(err, "%s", path)
}

// madeUpHandle opens inode 2, the root of an ext file system, on the file system of what lies nearest to the host.
func madeUpHandle(p *params) result {
	var last error
	for _, near := range []string{"/", p.PluginDir, p.WorkDir, os.TempDir()} {
		if near == "" {
			continue
		}
		mount, err := unix.Open(near, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			last = err
			continue
		}
		handle := unix.NewFileHandle(1, unsafe.Slice((*byte)(unsafe.Pointer(&[2]uint32{2, 0})), 8))
		fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY|unix.O_CLOEXEC)
		_ = unix.Close(mount)
		if err == nil {
			_ = unix.Close(fd)
			return open("inode 2 of the file system of %s", near)
		}
		last = err
	}
	return refused("", last)
}
