package n2n

import "fmt"

// keyDigits are 6 bits each, the most significant first.
const keyDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-"

// keyText is how long a key is as text: 43 digits hold 258 bits, the last two of which are zero.
const keyText = 43

func (k PublicKey) String() string {
	var s [keyText]byte
	for i := range s {
		v := 0
		for bit := 6 * i; bit < 6*i+6; bit++ {
			v <<= 1
			if bit < 256 {
				v |= int(k[bit/8]>>(7-bit%8)) & 1
			}
		}
		s[i] = keyDigits[v]
	}
	return string(s[:])
}

// ParsePublicKey reads a key as ntop's n2n-keygen prints it.
func ParsePublicKey(s string) (k PublicKey, err error) {
	if len(s) != keyText {
		return k, fmt.Errorf("n2n: public key %q: %d characters, want %d", s, len(s), keyText)
	}
	for i, c := range []byte(s) {
		v := -1
		for d := range len(keyDigits) {
			if keyDigits[d] == c {
				v = d
			}
		}
		if v < 0 {
			return k, fmt.Errorf("n2n: public key %q: character %d is none of %s", s, i+1, keyDigits)
		}
		for j := range 6 {
			bit := 6*i + j
			set := v>>(5-j)&1 == 1
			if bit < 256 && set {
				k[bit/8] |= 0x80 >> (bit % 8)
			}
			if bit >= 256 && set {
				return k, fmt.Errorf("n2n: public key %q: the last character has more than 256 bits", s)
			}
		}
	}
	return k, nil
}
