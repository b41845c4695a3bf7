package main

import (
	"bufio"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"io"
	"net"
	"net/rpc"

	"github.com/hashicorp/yamux"

	"example.org/goatkit/testplugins/internal/contract"
)

var (
	// hugeGob is the length prefix of a gob message of 1 GiB, of which nothing follows.
	hugeGob = []byte{0xfc, 0x40, 0x00, 0x00, 0x00}
	// garbage is no gob message.
	garbage = []byte("\x20\xff\x81\x03\x01\x02this is not gob at all, but it is long enough to look like a message")
)

// accept prints a proper handshake and waits for the host.
func accept() net.Conn {
	listener := listen()
	say("1|1|unix|" + listener.Addr().String() + "|netrpc|\n")
	conn, err := listener.Accept()
	if err != nil {
		hang()
	}
	return conn
}

// fakeRaw answers the connection with bytes instead of yamux frames.
func fakeRaw(answer []byte) {
	conn := accept()
	_, _ = conn.Write(answer)
	_, _ = io.Copy(io.Discard, conn)
	hang()
}

// fake serves a plugin without go-plugin, and answers one method with raw bytes.
func fake(method string, answer []byte) { fakeWith(wrong{method: method, answer: answer}) }

// fakeAnswers serves a plugin that answers a method once for each number, which is added to that of the call.
func fakeAnswers(method string, numbers ...uint64) { fakeWith(wrong{method: method, numbers: numbers}) }

// wrong is what is wrong with the answer to a method: these bytes instead of it, or these numbers.
type wrong struct {
	method  string
	answer  []byte
	numbers []uint64
}

func fakeWith(w wrong) {
	session, err := yamux.Server(accept(), nil)
	if err != nil {
		hang()
	}
	control := stream(session)
	for range 2 {
		// The stdout and stderr streams: accepted, never written to.
		stream(session)
	}
	server := rpc.NewServer()
	_ = server.RegisterName("Control", controlService{})
	_ = server.RegisterName("Dispenser", &dispenser{session: session, wrong: w})
	server.ServeCodec(newCodec(control, w))
	hang()
}

func stream(session *yamux.Session) net.Conn {
	conn, err := session.Accept()
	if err != nil {
		hang()
	}
	return conn
}

type controlService struct{}

func (controlService) Ping(bool, *struct{}) error { return nil }
func (controlService) Quit(bool, *struct{}) error { return nil }

type dispenser struct {
	session *yamux.Session
	wrong   wrong
}

// Dispense waits for the one brokered stream and serves the plugin on it.
func (d *dispenser) Dispense(_ string, id *uint32) error {
	*id = 1
	go func() {
		conn := stream(d.session)
		var asked uint32
		if binary.Read(conn, binary.LittleEndian, &asked) != nil || binary.Write(conn, binary.LittleEndian, asked) != nil {
			return
		}
		server := rpc.NewServer()
		_ = server.RegisterName("Plugin", &fakePlugin{})
		server.ServeCodec(newCodec(conn, d.wrong))
	}()
	return nil
}

type fakePlugin struct{}

func (*fakePlugin) GKRegister(_ interface{}, reply *[]byte) error {
	var err error
	*reply, err = json.Marshal(map[string]any{"name": contract.Name(), "version": "1.0.0"})
	return err
}

func (*fakePlugin) Init(_ InitRequest, _ *interface{}) error { return nil }

func (*fakePlugin) Call(request CallRequest, reply *CallResponse) error {
	reply.Result = request.Args
	return nil
}

func (*fakePlugin) Shutdown(_ interface{}, _ *interface{}) error { return nil }

// codec is net/rpc's gob codec, but for the answers to one method.
type codec struct {
	conn    io.ReadWriteCloser
	decoder *gob.Decoder
	encoder *gob.Encoder
	buffer  *bufio.Writer
	wrong   wrong
}

func newCodec(conn io.ReadWriteCloser, w wrong) *codec {
	buffer := bufio.NewWriter(conn)
	return &codec{conn, gob.NewDecoder(conn), gob.NewEncoder(buffer), buffer, w}
}

func (c *codec) ReadRequestHeader(request *rpc.Request) error { return c.decoder.Decode(request) }
func (c *codec) ReadRequestBody(body any) error               { return c.decoder.Decode(body) }
func (c *codec) Close() error                                 { return c.conn.Close() }

func (c *codec) WriteResponse(response *rpc.Response, body any) error {
	numbers := []uint64{0}
	if response.ServiceMethod == c.wrong.method {
		if c.wrong.answer != nil {
			_, err := c.conn.Write(c.wrong.answer)
			return err
		}
		numbers = c.wrong.numbers
	}
	for _, number := range numbers {
		answer := *response
		answer.Seq += number
		if err := c.encoder.Encode(&answer); err != nil {
			return err
		}
		if err := c.encoder.Encode(body); err != nil {
			return err
		}
	}
	return c.buffer.Flush()
}
