"""Asks a monitor socket by libzmq: client.py REP PUB. Prints what it hears; after "tick" it waits for a line."""
import json
import sys
import zmq

context = zmq.Context()
rep, pub = sys.argv[1:3]


def socket(kind, addr):
    s = context.socket(kind)
    s.linger, s.rcvtimeo, s.sndtimeo = 0, 10000, 10000
    s.heartbeat_ivl = 100
    s.connect("tcp://" + addr)
    return s


def header(kind):
    return b"\x02" + kind + b"\xaa\xbb\xcc\xdd"


def ask(s, kind, *body):
    s.send_multipart([header(kind), *body])
    return s.recv_multipart()


def say(*words):
    print(*words, flush=True)


s = socket(zmq.REQ, rep)
head, status = ask(s, b"S")
say("S", head[:6].hex(), head[6:].hex(), status.hex())
say("T", ask(s, b"T")[1][:5].hex())
say("B", ask(s, b"B", b"Main;Sub::3")[1].hex())
say("t", ask(s, b"t")[1].hex())
for bad in ([header(b"Z")], [header(b"B")], [b"hello"]):
    s.send_multipart(bad)
    say(*[part.decode() for part in s.recv_multipart()])

sub = socket(zmq.SUB, pub)
sub.subscribe(b"")
say("D", ask(s, b"D")[1].decode())
hook = {"enabled": True, "uid": 4, "mode": 0, "once": True, "desired_status": "SKIPPED", "position": 0}
say("I", "ok" if len(ask(s, b"I", json.dumps(hook).encode())) == 1 else "bad")
say("D", json.dumps(json.loads(ask(s, b"D")[1])))
say("tick")
sys.stdin.readline()
head, uid = sub.recv_multipart()
say("N", uid.decode(), head[:2].hex())
unlock = {"uid": 4, "position": 0, "desired_status": "SKIPPED", "remove_when_done": True}
say("U", "ok" if len(ask(s, b"U", json.dumps(unlock).encode())) == 1 else "bad")

dealer = socket(zmq.DEALER, rep)
dealer.send_multipart([b"", header(b"S")])
empty, head, status = dealer.recv_multipart()
say("dealer", head[6:].hex())

s.close()
s = socket(zmq.REQ, rep)
say("again", ask(s, b"S")[0][6:].hex())
