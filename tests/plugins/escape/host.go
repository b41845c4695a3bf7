package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// hostAttacks are on what the host itself does. Most of them are a whole plugin that breaks a rule, and are modes of
// misbehave.
var hostAttacks = []attack{
	misbehaving("40c", "a socket that is a link", "socket-link"),
	misbehaving("40d", "a socket that is a file", "socket-file"),
	misbehaving("40e", "a handshake that names TCP", "tcp"),
	misbehaving("40f", "a handshake that climbs", "dotdot-path"),
	misbehaving("40g", "a handshake that names another path", "other-path"),
	{id: "41a", name: "flood stdout with lines", run: func(p *params) result { return floods(p, atStartStdout) }},
	{id: "41b", name: "flood stderr with lines", run: func(p *params) result { return floods(p, atStartStderr) }},
	{id: "41c", name: "flood the log call", run: func(p *params) result {
		if p.call == nil {
			return needs("a host: run this as a plugin")
		}
		// A busy machine takes its time for each: the flood ends ahead of the call's timeout.
		end := time.Now().Add(20 * time.Second)
		for i := range p.Lines {
			if time.Now().After(end) {
				return holds("%d of %d calls were taken in 20 s", i, p.Lines)
			}
			arguments := map[string]any{"level": "info", "message": fmt.Sprintf("flood %d %s", i, strings.Repeat("x", 900))}
			if _, err := p.call.Host("log", arguments); err != nil {
				return holds("%d of %d: %v", i, p.Lines, err)
			}
		}
		return holds("%d calls were taken", p.Lines)
	}},
	misbehaving("41d", "flood stdout without lines", "stdout-flood"),
	misbehaving("41e", "flood stderr without lines", "stderr-flood"),
	misbehaving("41f", "flood instead of a handshake", "handshake-flood"),
	misbehaving("42a", "answer a call never", "hang-call"),
	misbehaving("42b", "answer a call twice", "double-answer"),
	misbehaving("42c", "answer a call with the wrong number", "wrong-seq"),
	misbehaving("42d", "answer a call with 1 GiB", "huge-gob-call"),
	misbehaving("42e", "answer a call with garbage", "garbage-gob-call"),
	misbehaving("42f", "a frame of 4 GiB", "huge-frame"),
}

func misbehaving(id, name, mode string) attack {
	return attack{id: id, name: name, run: func(*params) result { return absent("is the mode %s of misbehave", mode) }}
}

// go-plugin replaces os.Stdout and os.Stderr by its own streams; these are the process's.
var atStartStdout, atStartStderr = os.Stdout, os.Stderr

// floods writes lines of 1000 bytes. Whether the host bears it can only be seen from outside.
func floods(p *params, out *os.File) result {
	if p.call == nil {
		return needs("a host: run this as a plugin")
	}
	line := strings.Repeat("x", 980)
	for i := range p.Lines {
		if _, err := fmt.Fprintf(out, "flood %d %s\n", i, line); err != nil {
			return refused("", err)
		}
	}
	return holds("%d lines were taken", p.Lines)
}
