"""Delays frames: relay.py INTERFACE INTERFACE MILLISECONDS, in the switch's namespace, between a host's port and the bridge.

In place of netem, which not every kernel has. Each direction takes half of the time, so that a round trip takes all of it more.
It keeps the order and loses nothing; interfaces must not hand it frames that a network card would still have to cut or sum.
"""
import collections
import select
import socket
import sys
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4
LARGEST_FRAME = 65536


def open_interface(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    link.bind((name, ETH_P_ALL))
    return link


def relay(first, second, delay):
    links = {open_interface(first): open_interface(second)}
    links.update({there: here for here, there in links.items()})
    print('ready', flush=True)
    waiting = collections.deque()  # (when, link, frame), in the order of their time
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for link in select.select(list(links), [], [], timeout)[0]:
            frame, sender = link.recvfrom(LARGEST_FRAME)
            if sender[2] != PACKET_OUTGOING:
                waiting.append((time.monotonic() + delay, links[link], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, link, frame = waiting.popleft()
            try:
                link.send(frame)
            except OSError:
                pass  # the link is down: the frame is lost, as it would be


if __name__ == '__main__':
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 2000)
