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
func fake(method string, answer []byte) {
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
	_ = server.RegisterName("Dispenser", &dispenser{session: session, method: method, answer: answer})
	server.ServeCodec(newCodec(control, method, answer))
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
	method  string
	answer  []byte
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
		server.ServeCodec(newCodec(conn, d.method, d.answer))
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

// codec is net/rpc's gob codec, but for the answer to one method.
type codec struct {
	conn    io.ReadWriteCloser
	decoder *gob.Decoder
	encoder *gob.Encoder
	buffer  *bufio.Writer
	method  string
	answer  []byte
}

func newCodec(conn io.ReadWriteCloser, method string, answer []byte) *codec {
	buffer := bufio.NewWriter(conn)
	return &codec{conn, gob.NewDecoder(conn), gob.NewEncoder(buffer), buffer, method, answer}
}

func (c *codec) ReadRequestHeader(request *rpc.Request) error { return c.decoder.Decode(request) }
func (c *codec) ReadRequestBody(body any) error               { return c.decoder.Decode(body) }
func (c *codec) Close() error                                 { return c.conn.Close() }

func (c *codec) WriteResponse(response *rpc.Response, body any) error {
	if response.ServiceMethod == c.method {
		_, err := c.conn.Write(c.answer)
		return err
	}
	if err := c.encoder.Encode(response); err != nil {
		return err
	}
	if err := c.encoder.Encode(body); err != nil {
		return err
	}
	return c.buffer.Flush()
}
