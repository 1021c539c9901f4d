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

// numbersAsTexts returns a value with its whole numbers as texts. The protocol takes both forms. Terraform (1.11 to 1.15)
// compares what a refresh read with the state by their memory, in which a number that came as a number has another
// precision than the same number from a state file. Then "plan -refresh-only -detailed-exitcode" would return 2 with
// nothing to do.
func numbersAsTexts(value []byte) ([]byte, error) {
	in := msgpack.NewDecoder(bytes.NewReader(value))
	var buffer bytes.Buffer
	if err := copyValue(in, msgpack.NewEncoder(&buffer)); err != nil {
		return nil, fmt.Errorf("encode the numbers of a state: %w", err)
	}
	return buffer.Bytes(), nil
}

func copyValue(in *msgpack.Decoder, out *msgpack.Encoder) error {
	code, err := in.PeekCode()
	switch {
	case err != nil:
		return err
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16, code == msgpcode.Map32:
		n, err := in.DecodeMapLen()
		if err != nil {
			return err
		}
		if err := out.EncodeMapLen(n); err != nil {
			return err
		}
		return copyValues(in, out, 2*n) // no name is a number
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16, code == msgpcode.Array32:
		n, err := in.DecodeArrayLen()
		if err != nil {
			return err
		}
		if err := out.EncodeArrayLen(n); err != nil {
			return err
		}
		return copyValues(in, out, n)
	case isWhole(code):
		number, err := in.DecodeInt64()
		if err != nil {
			return err
		}
		return out.EncodeString(strconv.FormatInt(number, 10))
	}
	raw, err := in.DecodeRaw()
	if err != nil {
		return err
	}
	return out.Encode(raw)
}

func copyValues(in *msgpack.Decoder, out *msgpack.Encoder, n int) error {
	for range n {
		if err := copyValue(in, out); err != nil {
			return err
		}
	}
	return nil
}

func isWhole(code byte) bool {
	return msgpcode.IsFixedNum(code) || code >= msgpcode.Uint8 && code <= msgpcode.Int64
}
