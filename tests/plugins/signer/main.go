// signer signs as upstream does, with Go's own crypto/ed25519: hex of the signature over the SHA-256 of the binary.
//
//	signer -write FILE   the vectors, one JSON object a line
//	signer -check FILE   makes them again, compares, and verifies each signature that stands there
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
)

type vector struct {
	Name      string `json:"name"`
	Private   string `json:"private"`
	Public    string `json:"public"`
	KeyID     string `json:"key_id"`
	Binary    string `json:"binary"`
	Digest    string `json:"digest"`
	Signature string `json:"signature"`
}

func vectors() []vector {
	var all []vector
	for number, binary := range [][]byte{{}, []byte("a plugin's binary\n"), bytes.Repeat([]byte{0x7f, 'E', 'L', 'F'}, 300)} {
		seed := sha256.Sum256([]byte{'k', 'e', 'y', byte(number)})
		private := ed25519.NewKeyFromSeed(seed[:])
		public := private.Public().(ed25519.PublicKey)
		id := sha256.Sum256(public)
		digest := sha256.Sum256(binary)
		all = append(all, vector{
			Name:      fmt.Sprintf("v1-%d-bytes", len(binary)),
			Private:   hex.EncodeToString(private),
			Public:    hex.EncodeToString(public),
			KeyID:     hex.EncodeToString(id[:16]),
			Binary:    hex.EncodeToString(binary),
			Digest:    hex.EncodeToString(digest[:]),
			Signature: hex.EncodeToString(ed25519.Sign(private, digest[:])),
		})
	}
	return all
}

func lines() []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, v := range vectors() {
		if err := encoder.Encode(v); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}

func check(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	checked := 0
	for ; decoder.More(); checked++ {
		var v vector
		if err := decoder.Decode(&v); err != nil {
			return err
		}
		public, err1 := hex.DecodeString(v.Public)
		digest, err2 := hex.DecodeString(v.Digest)
		signature, err3 := hex.DecodeString(v.Signature)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		if len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, digest, signature) {
			return fmt.Errorf("%s: the signature does not verify", v.Name)
		}
	}
	if !bytes.Equal(text, lines()) {
		return errors.New("this Go writes other vectors; see signer -write")
	}
	fmt.Printf("%d signatures as Go makes them\n", checked)
	return nil
}

func main() {
	write := flag.String("write", "", "file to write the vectors to")
	read := flag.String("check", "", "file of vectors")
	flag.Parse()
	err := errors.New("usage: signer -write FILE | -check FILE")
	switch {
	case *write != "":
		err = os.WriteFile(*write, lines(), 0o644)
	case *read != "":
		err = check(*read)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "signer:", err)
		os.Exit(1)
	}
}
