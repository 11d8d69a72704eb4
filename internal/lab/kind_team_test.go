package lab

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestTeamMessage reads the message as the kernel would: the kernel's team is not
// everywhere.
func TestTeamMessage(t *testing.T) {
	var message []byte
	for _, attr := range teamAttributes(7, "mode", teamString, []byte("activebackup\x00")) {
		b := attr.Serialize()
		message = append(message, b...)
		message = append(message, make([]byte, -len(b)&3)...)
	}
	got, nested := map[string][]byte{}, map[string]bool{}
	flatten(t, message, "", nested, got)
	want := map[string][]byte{ // the numbers are those of linux/if_team.h
		"1":     binary.NativeEndian.AppendUint32(nil, 7),
		"2/1/1": []byte("mode\x00"), "2/1/3": {5}, "2/1/4": []byte("activebackup\x00"),
	}
	for name, value := range want {
		if !bytes.Equal(got[name], value) {
			t.Errorf("attribute %s is %x, want %x", name, got[name], value)
		}
	}
	if len(got) != len(want) || len(nested) != 2 {
		t.Errorf("attributes %v, nested %v", got, nested)
	}
}
