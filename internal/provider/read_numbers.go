package provider

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// ReadResource releases the call's context, and answers with numbers as texts.
func (s *server) ReadResource(
	ctx context.Context, req *tfprotov6.ReadResourceRequest,
) (*tfprotov6.ReadResourceResponse, error) {
	resp, err := call(ctx, req, s.fullServer.ReadResource)
	if err != nil || resp == nil || resp.NewState == nil || len(resp.NewState.MsgPack) == 0 {
		return resp, err
	}
	resp.NewState.MsgPack, err = numbersAsTexts(resp.NewState.MsgPack)
	return resp, err
}

// numbersAsTexts returns an object with its whole numbers, but not those inside other values, as texts. The protocol
// takes both forms. Terraform (1.11 to 1.15) compares what a refresh read with the state by their memory, in which a
// number that came as a number has another precision than the same number from a state file. Then "plan -refresh-only
// -detailed-exitcode" would return 2 with nothing to do.
func numbersAsTexts(object []byte) ([]byte, error) {
	in := msgpack.NewDecoder(bytes.NewReader(object))
	n, err := in.DecodeMapLen()
	if err != nil || n < 0 { // null
		return object, err
	}
	var buffer bytes.Buffer
	out := msgpack.NewEncoder(&buffer)
	if err := out.EncodeMapLen(n); err != nil {
		return nil, err
	}
	for range n {
		if err := copyAttribute(in, out); err != nil {
			return nil, fmt.Errorf("encode the numbers of a state: %w", err)
		}
	}
	return buffer.Bytes(), nil
}

func copyAttribute(in *msgpack.Decoder, out *msgpack.Encoder) error {
	name, err := in.DecodeString()
	if err != nil {
		return err
	}
	if err := out.EncodeString(name); err != nil {
		return err
	}
	code, err := in.PeekCode()
	if err != nil {
		return err
	}
	if !isWhole(code) {
		value, err := in.DecodeRaw()
		if err != nil {
			return err
		}
		return out.Encode(value)
	}
	number, err := in.DecodeInt64()
	if err != nil {
		return err
	}
	return out.EncodeString(strconv.FormatInt(number, 10))
}

func isWhole(code byte) bool {
	return msgpcode.IsFixedNum(code) || code >= msgpcode.Uint8 && code <= msgpcode.Int64
}
