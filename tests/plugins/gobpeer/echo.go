package main

import (
	"bufio"
	"encoding/gob"
	"errors"
	"io"
	"net/url"
	"time"
)

// Message has what messages of real plugins are made of: interfaces, times, links, types that contain themselves.
type Message struct {
	ID       uint64
	At       time.Time
	Perhaps  *time.Time
	Link     *url.URL
	Body     any
	Headers  map[string]any
	Items    []any
	Children []Message
	Next     *Message
}

// Circle and Square are what the interfaces hold.
type Circle struct {
	Radius float64
	Made   time.Time
}

// Square has an interface of its own.
type Square struct {
	Side  int
	Label any
}

func init() {
	gob.RegisterName("shapes.Circle", Circle{})
	gob.RegisterName("shapes.Square", Square{})
	gob.RegisterName("shapes.Message", Message{})
}

func echo(in *bufio.Reader, out *bufio.Writer) error {
	for {
		stream, err := read(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var message Message
		if err := decode(stream, &message); err != nil {
			return err
		}
		again, err := encode(&message)
		if err != nil {
			return err
		}
		if err := write(out, again); err != nil {
			return err
		}
	}
}
