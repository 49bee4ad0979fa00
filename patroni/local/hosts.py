"""Three hosts and a client's host on one machine.

Namespaces: each host is a network namespace, on a bridge in a namespace of its own, with nothing to the machine's network. For root.
Loopback: each host is an address 127.x.y.z of the machine. For everybody; the network between hosts cannot be cut.

A host is 1, 2, 3 or 'client'. Both classes have the same methods; what only namespaces can do is in Namespaces alone.
"""
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib

from . import process
from .errors import ClusterError, NotPossible

HOSTS = (1, 2, 3, 'client')
PORTS = (2379, 2380, 5432, 8008)
CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
ETHTOOL_OFFLOADS = (0x17, 0x1f, 0x25)  # set: checksums of what is sent, TCP segmentation, generic segmentation
RELAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'relay.py')


def run(argv, stdin=None, timeout=20):
    """Runs a tool, which has to succeed; returns what it prints."""
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise ClusterError('%s: %s' % (' '.join(argv), done.stdout.strip() or 'exit status %d' % done.returncode))
    return done.stdout


def within(namespace, function):
    """What a function returns in a network namespace: a thread enters it. What the function opens there stays there."""
    result = []

    def enter_and_call():
        try:
            with open('/run/netns/%s' % namespace, 'rb') as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), 'setns')
            result.append(function())
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=enter_and_call)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def send_as_a_card_would(interface):
    """Has the kernel cut and sum what an interface sends, since no network card will."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in ETHTOOL_OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack('II', command, 0))
            fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack('16sP', interface.encode(), ctypes.addressof(value)))


class Loopback:
    """Hosts that are addresses of 127.0.0.0/8: of the networks 127.64.x.0/24 … one that nobody uses."""
    tools = {}

    def __init__(self, cluster_id, run_dir, network=None):
        self.network = network or self._free_network(run_dir)

    def _free_network(self, run_dir):
        first = zlib.crc32(run_dir.encode())
        for number in range(first, first + 100):
            prefix = '127.%d.%d.' % (64 + number // 250 % 64, number % 250)
            if all(self._is_free(prefix + '1%d' % host, port) for host in (1, 2, 3) for port in PORTS):
                return prefix
        raise ClusterError('no free network in 127.64.0.0/10')

    @staticmethod
    def _is_free(address, port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                return True
            except OSError:
                return False

    def up(self):
        pass

    def down(self):
        pass

    def heal(self):
        pass

    def pids(self, host):
        return []

    def address(self, host):
        return self.network + ('100' if host == 'client' else '1%d' % host)

    def range(self):
        return '127.0.0.0/8'

    def inside(self, host):
        """What goes before a command that is to run on a host."""
        return []

    def connect(self, host, address, timeout):
        """A TCP connection from a host."""
        return socket.create_connection(address, timeout)

    def _impossible(self, *args, **options):
        raise NotPossible('the network between hosts can be cut only where they are network namespaces, which root alone can make')

    set_link = filter = delay = _impossible


def inside(namespace):
    """What goes before a command that is to run in a namespace. Not "ip netns exec", which wants / to be a mount point: in a chroot it is none."""
    return ['nsenter', '--net=/run/netns/' + namespace]


class Namespaces:
    """Hosts that are network namespaces named unrdf-ID-HOST, on a bridge in unrdf-ID-switch."""
    tools = {'ip': 'iproute2', 'nft': 'nftables'}

    def __init__(self, cluster_id, run_dir, network=None):
        self.network = '10.77.0.'
        self.cluster_id = cluster_id
        self.switch = self._name('switch')

    def _name(self, host):
        return 'unrdf-%s-%s' % (self.cluster_id, host)

    def _names(self):
        there = {line.split()[0] for line in run(['ip', 'netns', 'list']).splitlines() if line.strip()}
        return [name for name in [self._name(host) for host in HOSTS] + [self.switch] if name in there]

    def up(self):
        switch = self.switch
        run(['ip', 'netns', 'add', switch])
        run(inside(switch) + ['ip', '-batch', '-'], 'link set lo up\nlink add bridge type bridge\nlink set bridge up\n')
        for host in HOSTS:
            name = self._name(host)
            run(['ip', 'netns', 'add', name])
            run(inside(switch) + ['ip', '-batch', '-'],
                'link add {0} type veth peer name eth0 netns {1}\nlink set {0} master bridge\nlink set {0} up\n'.format(self.port(host), name))
            run(inside(name) + ['ip', '-batch', '-'],
                'link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\n' % self.address(host))

    def down(self):
        """Ends what runs in the namespaces, and only then takes them away: afterwards nobody could find it."""
        for name in self._names():
            process.kill_all(lambda name=name: [int(pid) for pid in run(['ip', 'netns', 'pids', name]).split()])
        for name in self._names():
            run(['ip', 'netns', 'del', name])

    def pids(self, host):
        return [int(pid) for pid in run(['ip', 'netns', 'pids', self._name(host)]).split()]

    def address(self, host):
        return self.network + ('100' if host == 'client' else '1%d' % host)

    def range(self):
        return self.network + '0/24'

    @staticmethod
    def port(host):
        """A host's port on the switch."""
        return 'port-%s' % host

    def inside(self, host):
        return inside(self._name(host))

    def connect(self, host, address, timeout):
        """A TCP connection from a host."""
        return within(self._name(host), lambda: socket.create_connection(address, timeout))

    def set_link(self, host, state):
        run(inside(self.switch) + ['ip', 'link', 'set', self.port(host), state])

    def filter(self, host, incoming=(), outgoing=()):
        """Has a host drop packets from and to the others that match: lines in nft's language, all in effect at once."""
        rules = ''.join(
            'chain %s { type filter hook %s priority 0;\n%s}\n' % (
                hook, hook, ''.join('%s eth0 %s\n' % (direction, line) for line in lines))
            for hook, direction, lines in (('input', 'iifname', incoming), ('output', 'oifname', outgoing)))
        run(self.inside(host) + ['nft', '-f', '-'], 'table inet fault {\n%s}\n' % rules)

    def delay(self, host, milliseconds):
        """Makes every round trip to a host take so much longer, by a process between its port and the bridge."""
        self._stop_relays()
        for each in HOSTS:
            within(self._name(each), lambda: send_as_a_card_would('eth0'))
        port, inner, outer = self.port(host), 'in-%s' % host, 'out-%s' % host
        run(inside(self.switch) + ['ip', '-batch', '-'],
            'link add {1} type veth peer name {2}\nlink set {0} promisc on\nlink set {1} promisc on\n'
            'link set {1} up\nlink set {2} up\n'.format(port, inner, outer))
        relay = subprocess.Popen(inside(self.switch) + [sys.executable, '-B', RELAY, port, inner, str(milliseconds)], cwd='/',
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        with relay.stdout:
            if relay.stdout.readline() != b'ready\n':
                raise ClusterError('the process that delays packets did not start')
        run(inside(self.switch) + ['ip', '-batch', '-'], 'link set {0} nomaster\nlink set {1} master bridge\n'.format(port, outer))

    def _stop_relays(self):
        """Only relays run in the switch's namespace."""
        process.kill_all(lambda: [int(pid) for pid in run(['ip', 'netns', 'pids', self.switch]).split()])
        there = {line.split()[1].rstrip(':').split('@')[0] for line in run(inside(self.switch) + ['ip', '-o', 'link']).splitlines()}
        for host in HOSTS:
            if 'in-%s' % host in there:
                run(inside(self.switch) + ['ip', '-batch', '-'], 'link del in-{0}\nlink set {1} master bridge\n'.format(host, self.port(host)))

    def heal(self):
        self._stop_relays()
        for host in HOSTS:
            self.set_link(host, 'up')
            run(self.inside(host) + ['nft', 'flush', 'ruleset'])
