// gobpeer is Go's own encoder and decoder of gob for the tests of gk-wire.
//
//	gobpeer produce SEED COUNT   writes so many streams, each one interface{} that holds a value of generated types
//	gobpeer judge SEED COUNT     reads as many streams, and says which do not hold the values that produce has written
//	gobpeer table                writes a stream for each row of the table of types in gk-wire's documentation
//	gobpeer table-judge          reads them in the same order, written by somebody else
//	gobpeer echo                 reads streams that each hold a Message, and writes what it has read
//
// A stream is framed by its length, four bytes, the lowest first.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gobpeer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if len(args) == 1 {
		switch args[0] {
		case "table":
			return table(out)
		case "table-judge":
			return judgeTable(in, out)
		case "echo":
			return echo(in, out)
		}
	}
	if len(args) != 3 {
		return fmt.Errorf("usage: gobpeer produce|judge SEED COUNT, table, table-judge, echo")
	}
	seed, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	for number := range count {
		value := generate(seed, number)
		stream, err := encode(&value)
		if err != nil {
			return fmt.Errorf("case %d: %w", number, err)
		}
		switch args[0] {
		case "produce":
			if err := write(out, stream); err != nil {
				return err
			}
		case "judge":
			theirs, err := read(in)
			if err != nil {
				return fmt.Errorf("case %d: %w", number, err)
			}
			// Gob does not tell an empty slice from none: both are what comes out of it.
			var expected, found any
			if err := decode(stream, &expected); err != nil {
				return fmt.Errorf("case %d: its own: %w", number, err)
			}
			if err := decode(theirs, &found); err != nil {
				return fmt.Errorf("case %d: %w: %x", number, err, theirs)
			}
			if !reflect.DeepEqual(expected, found) {
				return fmt.Errorf("case %d: expected %#v, found %#v", number, expected, found)
			}
		default:
			return fmt.Errorf("unknown command %q", args[0])
		}
	}
	if args[0] == "judge" {
		fmt.Fprintf(out, "%d equal\n", count)
	}
	return nil
}

func encode(value any) ([]byte, error) {
	var stream bytes.Buffer
	err := gob.NewEncoder(&stream).Encode(value)
	return stream.Bytes(), err
}

// decode takes one value, and nothing may be left.
func decode(stream []byte, into any) error {
	reader := bytes.NewReader(stream)
	if err := gob.NewDecoder(reader).Decode(into); err != nil {
		return err
	}
	if reader.Len() > 0 {
		return fmt.Errorf("%d bytes are left", reader.Len())
	}
	return nil
}

func write(out io.Writer, stream []byte) error {
	if err := binary.Write(out, binary.LittleEndian, uint32(len(stream))); err != nil {
		return err
	}
	_, err := out.Write(stream)
	return err
}

func read(in io.Reader) ([]byte, error) {
	var length uint32
	if err := binary.Read(in, binary.LittleEndian, &length); err != nil {
		return nil, err
	}
	stream := make([]byte, length)
	_, err := io.ReadFull(in, stream)
	return stream, err
}
