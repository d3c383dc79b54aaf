// Package rendezvous decides what an N2N supernode does: who is registered, which packet goes where, what is answered and
// what is refused, and why.
//
// It is a value machine: a packet, the way it came and the time go in, messages and the ways they leave come out. It has no
// socket, no clock and no goroutine; chance comes in with each worker. serve is the shell around it: it reads sockets,
// keeps State in a file, and shows Edges and Counters to people.
//
//	m := rendezvous.New(config)
//	w := m.Worker(random)           // one for each reader of packets
//	w.Packet(now, from, b, &out)    // b is overwritten
//	m.Tick(now, &out)               // each second: purges, federation
//
// # Who may do what at the same time
//
// Edges send frames all the time and register every 20 s. So PACKET and REGISTER, which only look, go through without a
// lock: edges are found in an index that readers share with its one writer, what changes in an edge that they look at is
// atomic. All else holds the machine's lock. Nothing is allocated for a packet that passes through.
//
// # What bad packets cannot do
//
// A packet moves on, or changes a table, only when it is whole, when its header has the form that its community agreed on,
// when its stamp is fresh and no replay, and when the edge it speaks for is registered at the very address it comes from
// and with the token it shows. What is refused is counted by its reason, and none of it is answered but a registration by
// its refusal. Answers are no longer than questions, as far as the protocol lets them: a PONG is twice as long as its PING,
// and the list of supernodes goes only to who has registered a second time from the same address.
package rendezvous
