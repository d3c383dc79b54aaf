package n2n

import (
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

// The keys that ntop's n2n-keygen printed: of alice (wonderland), bob (builder), and the federation of that name.
func TestKeysAsPrinted(t *testing.T) {
	for _, c := range []struct {
		who  string
		key  PrivateKey
		want string
	}{
		{"alice", UserKey("alice", "wonderland"), "6wSAUofwI7AnM5mHTK31o6Ai9sdUcBZ6-cn70v2f1dq"},
		{"bob", UserKey("bob", "builder"), "ultXdJjYNYsoK6obcXW8J17GycyuByhXbtwUIhodK7m"},
		{"Federation", FederationKey("Federation"), "i0IuBFO0RC22m2Ya32uUUFUA2yfQSwsxVZ3-S5F2k7O"},
	} {
		public, err := c.key.Public()
		if err != nil || public.String() != c.want {
			t.Errorf("%s: %v (%v), want %s", c.who, public, err, c.want)
		}
		if again, err := ParsePublicKey(c.want); err != nil || again != public {
			t.Errorf("%s: read as %x (%v), want %x", c.who, again, err, public)
		}
	}
}

// The vector of n2n-wire.md 6.5.
func TestSecretVector(t *testing.T) {
	unhex := func(s string) [32]byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return [32]byte(b)
	}
	private := PrivateKey(unhex("a4f4b51c8a0a09f97e9822ca8accb3f94d5a0d020b9d08ea039b46418e3c0d49"))
	public, err := private.Public()
	if want := PublicKey(unhex("ca58616ff925d0cd1da56248a0155eada9f35c105f20b642b0a97c1e0ed7e94b")); err != nil || public != want {
		t.Errorf("public key %x (%v), want %x", public, err, want)
	}
	secret, err := private.Share(public)
	if want := unhex("5d947b0bdb54e8708a09b0db6f0b0d311bb85fba577434bd3bc5c46cd5aea484"); err != nil || secret.bytes != want {
		t.Errorf("secret %x (%v), want %x", secret, err, want)
	}
}

// An edge and a supernode that share a secret agree on the dynamic key; who has another password learns nothing and is
// found out by both.
func TestLogin(t *testing.T) {
	federation := FederationKey("Federation")
	pub, err := federation.Public()
	if err != nil {
		t.Fatal(err)
	}
	user, err := UserKey("alice", "wonderland").Public()
	if err != nil {
		t.Fatal(err)
	}
	share := func(k PrivateKey, with PublicKey) *Secret {
		s, err := k.Share(with)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	edge, liar, supernode := share(UserKey("alice", "wonderland"), pub), share(UserKey("alice", "queen"), pub), share(federation, user)
	challenge, key := Challenge{1, 2, 3}, DynamicKey{4, 5, 6}

	login := edge.Login(user, challenge)
	if u, err := login.User(); err != nil || u != user {
		t.Errorf("%v logs in as %v (%v)", user, u, err)
	}
	answer, err := supernode.Answer(&login, key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := edge.DynamicKey(&answer, challenge); err != nil || got != key {
		t.Errorf("dynamic key %x (%v), want %x", got, err, key)
	}
	if _, err := edge.DynamicKey(&answer, Challenge{7}); ReasonOf(err) != ReasonLogin {
		t.Errorf("an answer to another challenge: %v", err)
	}
	if _, err := liar.DynamicKey(&answer, challenge); ReasonOf(err) != ReasonLogin {
		t.Errorf("an answer to another secret: %v", err)
	}

	packet := edge.AppendTrailer(make([]byte, 100))
	sealed, trailer, err := CutTrailer(packet)
	if err != nil || len(sealed) != 100 {
		t.Fatalf("%d bytes: %v", len(sealed), err)
	}
	if err := supernode.Verify(trailer); err != nil {
		t.Error(err)
	}
	if err := liar.Verify(trailer); ReasonOf(err) != ReasonLogin {
		t.Errorf("a trailer of another secret: %v", err)
	}
	packet[3] ^= 1
	if _, trailer, _ := CutTrailer(packet); ReasonOf(supernode.Verify(trailer)) != ReasonLogin {
		t.Error("a changed packet was not found out")
	}
	if _, _, err := CutTrailer(packet[:HeaderLen+TrailerLen-1]); ReasonOf(err) != ReasonShort {
		t.Errorf("a packet that is all trailer: %v", err)
	}
}

// Tokens that are no logins are refused wherever one is read.
func TestNoLogin(t *testing.T) {
	secret, err := UserKey("alice", "wonderland").Share(PublicKey{31: 9})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 16, 47, 48} {
		for _, scheme := range []AuthScheme{AuthNone, AuthID, AuthLogin} {
			a, err := AuthOf(scheme, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			if scheme == AuthLogin && size == MaxToken {
				continue
			}
			_, err = a.User()
			_, err2 := secret.Answer(&a, DynamicKey{})
			_, err3 := secret.DynamicKey(&a, Challenge{})
			for _, err := range []error{err, err2, err3} {
				if ReasonOf(err) != ReasonLogin {
					t.Errorf("scheme %d, %d bytes: %v", scheme, size, err)
				}
			}
		}
	}
}

// A point of low order would make the same secret with everybody.
func TestLowOrderKeyIsRefused(t *testing.T) {
	if s, err := UserKey("alice", "wonderland").Share(PublicKey{}); err == nil {
		t.Errorf("shares %x with 0", s.bytes)
	}
}

func TestKeyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := PublicKey(drawBytes(t, 32, "key"))
		if again, err := ParsePublicKey(k.String()); err != nil || again != k {
			t.Fatalf("%x became %x: %v", k, again, err)
		}
	})
	const good = "6wSAUofwI7AnM5mHTK31o6Ai9sdUcBZ6-cn70v2f1dq"
	for _, bad := range []string{"", good[1:], good + "0", "_" + good[1:], good[:42] + "1"} {
		if k, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q is read as %x", bad, k)
		}
	}
}
