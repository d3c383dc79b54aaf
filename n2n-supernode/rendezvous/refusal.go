package rendezvous

import "sonic-netservices/internal/n2n"

// Refusal is why a packet changed nothing and went nowhere. The first ones are the codec's reasons, by their numbers.
type Refusal uint8

const (
	UnknownCommunity Refusal = Refusal(n2n.Reasons) + iota // nobody may have a community of that name
	WrongHeader                                            // clear where headers are encrypted, or the other way round
	NotSupernode                                           // says that it is from a supernode, from an address of none
	Unregistered                                           // from an edge that is not registered
	WrongAddress                                           // in the name of an edge that is registered from elsewhere
	Taken                                                  // MAC or address belongs to another token
	WrongToken                                             // takes off an edge with another token
	BadMAC                                                 // a MAC that no device has
	Loop                                                   // an edge that comes through the overlay itself
	TooMany                                                // from one IP address
	Full                                                   // no room for more edges or communities
	NoRoute                                                // for an edge that nobody knows
	NotForUs                                               // a message that a supernode has nothing to do with
	Unasked                                                // an answer to no question
	Refusals                                               // how many there are
)

var refusalNames = [...]string{"unknown_community", "wrong_header", "not_supernode", "unregistered", "wrong_address", "taken",
	"wrong_token", "bad_mac", "loop", "too_many", "full", "no_route", "not_for_us", "unasked"}

func (r Refusal) String() string {
	if r < Refusal(n2n.Reasons) {
		return n2n.Reason(r).String()
	}
	return refusalNames[r-Refusal(n2n.Reasons)]
}

// refusalOf gives the refusal that an error of the codec is.
func refusalOf(err error) Refusal {
	if err == nil {
		return accepted
	}
	if e, ok := err.(*n2n.Error); ok { // not errors.As, which allocates: there are floods of these
		return Refusal(e.Reason)
	}
	return Refusal(n2n.ReasonOf(err))
}

// accepted is the Refusal of what was not refused.
const accepted = Refusal(n2n.ReasonNone)
