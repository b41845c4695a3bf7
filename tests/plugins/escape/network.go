package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var networkAttacks = []attack{
	{id: "25a", name: "TCP to the host's 127.0.0.1", run: func(p *params) result { return dials(p, "tcp", p.TCP) }},
	{id: "25b", name: "TCP to 169.254.169.254", run: func(*params) result {
		conn, err := net.DialTimeout("tcp", "169.254.169.254:80", 2*time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return judge(err, "connected")
	}},
	{id: "25c", name: "UDP to the host's 127.0.0.1", run: func(p *params) result { return dials(p, "udp", p.UDP) }},
	{id: "25d", name: "listen on TCP", run: listenTCP},
	{id: "25e", name: "see the host's network interfaces", run: interfaces},
	{id: "26a", name: "a raw socket", run: sockets(family{"raw", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP})},
	{id: "26b", name: "a packet socket", run: sockets(family{"packet", unix.AF_PACKET, unix.SOCK_RAW, 0x0300})},
	{id: "26c", name: "a vsock socket", run: sockets(family{"vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0})},
	{id: "26d", name: "an alg socket", run: sockets(family{"alg", unix.AF_ALG, unix.SOCK_SEQPACKET, 0})},
	{id: "26e", name: "a netlink socket", run: sockets(
		family{"uevent", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT},
		family{"audit", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
		family{"netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER})},
	{id: "26f", name: "a socket of any other family", run: sockets(
		family{"xdp", unix.AF_XDP, unix.SOCK_RAW, 0}, family{"can", unix.AF_CAN, unix.SOCK_RAW, 1},
		family{"bluetooth", unix.AF_BLUETOOTH, unix.SOCK_RAW, 1}, family{"tipc", unix.AF_TIPC, unix.SOCK_STREAM, 0},
		family{"rds", unix.AF_RDS, unix.SOCK_SEQPACKET, 0}, family{"key", unix.AF_KEY, unix.SOCK_RAW, 2},
		family{"kcm", unix.AF_KCM, unix.SOCK_DGRAM, 0}, family{"qipcrtr", unix.AF_QIPCRTR, unix.SOCK_DGRAM, 0},
		family{"smc", unix.AF_SMC, unix.SOCK_STREAM, 0}, family{"ax25", unix.AF_AX25, unix.SOCK_DGRAM, 0})},
	{id: "27a", name: "an abstract socket of the host", run: func(p *params) result {
		if p.AbstractSocket == "" {
			return needs("abstract_socket")
		}
		return dials(p, "unix", "@"+strings.TrimPrefix(p.AbstractSocket, "@"))
	}},
	{id: "27b", name: "see the host's abstract sockets", run: func(p *params) result {
		if p.AbstractSocket == "" {
			return needs("abstract_socket")
		}
		listed, err := os.ReadFile("/proc/self/net/unix")
		if err != nil {
			return refused("", err)
		}
		if strings.Contains(string(listed), strings.TrimPrefix(p.AbstractSocket, "@")) {
			return open("it is listed")
		}
		return holds("the list is without it")
	}},
	{id: "28a", name: "a path socket of the host", run: func(p *params) result { return dials(p, "unix", p.HostSocket) }},
	{id: "28b", name: "a path socket of the host, through a link", run: func(p *params) result {
		if p.HostSocket == "" {
			return needs("host_socket")
		}
		link := filepath.Join(os.TempDir(), fmt.Sprintf("socket-link-%d", os.Getpid()))
		if err := os.Symlink(p.HostSocket, link); err != nil {
			return refused("symlink: ", err)
		}
		defer func() { _ = os.Remove(link) }()
		return dials(p, "unix", link)
	}},
	{id: "28c", name: "the sockets of services", run: serviceSockets},
}

// dials connects and expects the secret: as a greeting, or as the answer to a datagram.
func dials(p *params, network, address string) result {
	if address == "" {
		return needs("of the " + network + " address")
	}
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if network == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return refused("", err)
		}
	}
	greeting := make([]byte, 256)
	n, err := conn.Read(greeting)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return secret(p, "the other end")(greeting[:n], err)
}

func listenTCP(*params) result {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = listener.Close() }()
	if r := interfaces(nil); r.Outcome != opened {
		return holds("%s, on no network: %s", listener.Addr(), r.Detail)
	}
	return open("%s", listener.Addr())
}

// interfaces looks for one that is not loopback and up.
func interfaces(*params) result {
	found, err := net.Interfaces()
	if err != nil {
		text, err := os.ReadFile("/proc/self/net/dev")
		if err != nil {
			return refused("", err)
		}
		for line := range strings.Lines(string(text)) {
			if name, _, is := strings.Cut(line, ":"); is && strings.TrimSpace(name) != "lo" {
				return open("%s", strings.TrimSpace(name))
			}
		}
		return holds("nothing but loopback")
	}
	for _, one := range found {
		if one.Flags&net.FlagLoopback == 0 && one.Flags&net.FlagUp != 0 {
			return open("%s", one.Name)
		}
	}
	return holds("nothing but loopback")
}

type family struct {
	name                   string
	family, kind, protocol int
}

func sockets(families ...family) func(*params) result {
	return func(*params) result {
		var r result
		for _, f := range families {
			fd, err := unix.Socket(f.family, f.kind|unix.SOCK_CLOEXEC, f.protocol)
			if err == nil {
				_ = unix.Close(fd)
				return open("%s", f.name)
			}
			r = refused(f.name+": ", err)
		}
		return r
	}
}

func serviceSockets(*params) result {
	r := absent("none of them is there")
	for _, path := range []string{
		"/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/dbus/system_bus_socket",
		"/run/systemd/private", "/run/systemd/journal/stdout", "/run/udev/control", "/run/mysqld/mysqld.sock",
		"/run/postgresql/.s.PGSQL.5432", "/tmp/.X11-unix/X0", "/dev/log",
	} {
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = conn.Close()
			return open("%s", path)
		}
		if !errors.Is(err, syscall.ENOENT) {
			r = refused("", err)
		}
	}
	return r
}

func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}
