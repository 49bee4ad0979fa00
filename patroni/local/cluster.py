"""A local cluster of three nodes, each with etcd, Patroni and PostgreSQL, and a client's host.

Everything it consists of is in its run directory and carries the directory's name (process.py), or is a network namespace
named by its id. What is known of it is in two files there: cluster.json, how it was made and by whom, and whether it was
made to the end; processes.json, who was started. So any process can go on where another has died, and down() needs neither
file to be whole: it ends what carries the directory's name, then takes the namespaces and the directory away, in this order.
A cluster that was not made to the end, and whose maker is gone, is taken away by the next up().
"""
import concurrent.futures
import http.client
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time

import dcs
import render

from . import faults, hosts, mounts, process
from .errors import ClusterError, NotPossible

NODES = (1, 2, 3)
SCOPE = 'unrdf'
CLOCK_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'clock.c')
TOOLS = {'etcd': 'etcd-server', 'etcdctl': 'etcd-client', 'setpriv': 'util-linux'}


def default_dir():
    """Where run directories are: not in the repository, and where the server's user can read."""
    own = '/var/tmp/unrdf-ha' if os.getuid() == 0 else '/var/tmp/unrdf-ha-%d' % os.getuid()
    return os.path.abspath(os.environ.get('UNRDF_HA_DIR') or own)


def pg_config():
    """PG_CONFIG, or the newest server's."""
    found = [os.path.join('/usr/lib/postgresql', version, 'bin/pg_config')
             for version in sorted(os.listdir('/usr/lib/postgresql'), key=lambda name: [int(n) for n in re.findall(r'\d+', name)])
             ] if os.path.isdir('/usr/lib/postgresql') else []
    path = os.environ.get('PG_CONFIG') or ([name for name in found if os.path.exists(name)] or ['pg_config'])[-1]
    if not shutil.which(path):
        raise ClusterError('no pg_config at %s: run test/setup cluster' % path)
    return path


def ask_pg_config(what):
    return subprocess.run([pg_config(), '--' + what], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def wait(condition, timeout, what, interval=0.1):
    """Waits until a condition holds; a cluster that cannot be asked yet does not fulfil it."""
    until = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
        except (ClusterError, dcs.DcsError):
            pass
        if time.monotonic() > until:
            raise ClusterError('waited %d s in vain for %s' % (timeout, what))
        time.sleep(interval)


class Cluster:
    """id: several may run side by side. ttl_set: a key of render.TTL_SETS, by default what the installed Patroni takes.
    strict: synchronous_mode_strict. fence: whether the extension's fence is on. loopback: hosts that are addresses and not
    namespaces, as for everybody but root. disk: megabytes of the disk of its own that each node gets (mounts.py), 0 for none.
    clock: whether each node has a clock of its own, by clock.c."""

    def __init__(self, id='', ttl_set=None, strict=True, fence=True, loopback=None, disk=0, clock=False):
        if not re.fullmatch(r'[a-z0-9][a-z0-9-]{0,15}', id or 'default'):
            raise ClusterError('an id is up to 16 of a-z, 0-9 and -: "%s"' % id)
        if ttl_set is not None and ttl_set not in render.TTL_SETS:
            raise ClusterError('no ttl set "%s": there are %s' % (ttl_set, ', '.join(sorted(render.TTL_SETS))))
        self.id = id or 'default'
        self.base_dir = default_dir()
        self.run_dir = os.path.join(self.base_dir, self.id)
        self.is_root = os.getuid() == 0
        self.user = pwd.getpwnam('postgres') if self.is_root else pwd.getpwuid(os.getuid())
        self.settings = self._read('cluster.json') or dict(
            ttl_set=ttl_set, strict=strict, fence=fence, disk=disk, clock=clock, network=None,
            loopback=not self.is_root if loopback is None else loopback)
        self.hosts = (hosts.Loopback if self.settings['loopback'] else hosts.Namespaces)(self.id, self.run_dir, self.settings['network'])

    # Folders and files

    def _path(self, *names):
        return os.path.join(self.run_dir, *names)

    def node_dir(self, node):
        return self._path(node if node == 'client' else 'node%d' % node)

    def data_dir(self, node):
        return os.path.join(self.node_dir(node), 'disk', 'data')

    def log_path(self, what, node):
        """The log of etcd, patroni or postgresql on a node."""
        return os.path.join(self.node_dir(node), 'log', what + '.log')

    def _read(self, name):
        try:
            with open(self._path(name), encoding='utf-8') as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def _write(self, name, text, mode=0o644, owner=None):
        """Writes a file at once or not at all."""
        path = self._path(name)
        with open(os.open(path + '.new', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), 'w', encoding='utf-8') as file:
            file.write(text)
        if owner and self.is_root:
            os.chown(path + '.new', owner.pw_uid, owner.pw_gid)
        os.replace(path + '.new', path)

    def _make_folder(self, path, mode):
        os.mkdir(path, mode)
        if self.is_root:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    # Processes

    def _environment(self, host):
        return {'PATH': self.settings['bin_dir'] + ':/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': self.node_dir(host), 'LANG': 'C.UTF-8',
                'PYTHONDONTWRITEBYTECODE': '1', 'PYTHONUNBUFFERED': '1', 'PGPASSFILE': self._path('client', 'pgpass'),
                'PATRONICTL_CONFIG_FILE': os.path.join(self.node_dir(host), 'patroni.yml'), process.TAG: self.node_dir(host)}

    def clock(self, node):
        """How many seconds a node's clock is off the machine's."""
        return int(self._read('node%d/clock' % node) or 0) if self.settings['clock'] else 0

    def set_clock(self, node, seconds):
        """Sets a node's own clock, if it has one, off the machine's."""
        if self.settings['clock']:
            self._write('node%d/clock' % node, '%d\n' % seconds)

    def command(self, host, argv, as_server=True):
        """The command line that runs a command on a host."""
        user = ['setpriv', '--reuid', self.user.pw_name, '--regid', str(self.user.pw_gid), '--init-groups'] if self.is_root and as_server else []
        return self.hosts.inside(host) + user + list(argv)

    def popen(self, host, argv, as_server=True, env=None, **options):
        """Starts a process on a host. It belongs to the host: a fault that kills the host kills it."""
        options.setdefault('stdin', subprocess.DEVNULL)
        return subprocess.Popen(self.command(host, argv, as_server), cwd=self.node_dir(host), start_new_session=True,
                                env=dict(self._environment(host), **(env or {})), **options)

    def popen_in_client(self, argv, **options):
        return self.popen('client', argv, **options)

    def start(self, what, node):
        """Starts etcd or Patroni on a node and records it."""
        argv = {'etcd': ['etcd'], 'patroni': [render.patroni_program(), os.path.join(self.node_dir(node), 'patroni.yml')]}[what]
        env = {}
        if what == 'patroni' and self.settings['clock']:
            env = {'LD_PRELOAD': self._path('clock.so'), 'UNRDF_CLOCK': os.path.join(self.node_dir(node), 'clock')}
        elif what == 'etcd':
            with open(os.path.join(self.node_dir(node), 'etcd.conf'), encoding='utf-8') as file:
                env = dict(line.rstrip('\n').split('=', 1) for line in file if not line.startswith('#'))
        with open(self.log_path(what, node), 'ab') as log:
            started = self.popen(node, argv, env=env, stdout=log, stderr=subprocess.STDOUT)
        records = self._read('processes.json') or {}
        records['%s %d' % (what, node)] = [started.pid, process.started(started.pid)]
        self._write('processes.json', json.dumps(records))

    def pid(self, what, node):
        """The process id of a node's etcd, patroni or postmaster; None where it does not run."""
        if what == 'postmaster':
            return process.postmaster_of(self.data_dir(node))
        pid, start = (self._read('processes.json') or {}).get('%s %d' % (what, node), (0, 0))
        return pid if pid and process.started(pid) == start else None

    def pids_of_host(self, host):
        """Everything that runs on a host."""
        return process.of_host(self.node_dir(host), self.data_dir(host))

    def pids_of_server(self, node):
        """The postmaster and all other server processes of a node."""
        return process.servers_in(self.data_dir(node))

    # Up and down

    def _missing(self):
        tools = {render.patroni_program(): 'patroni', **TOOLS, **self.hosts.tools}
        if self.settings['clock']:
            tools['cc'] = 'gcc'
        if self.settings['disk']:
            tools['mkfs.ext4'] = 'e2fsprogs'
        return sorted({package for tool, package in tools.items() if not shutil.which(tool, path=os.defpath + ':/usr/sbin:/sbin')})

    def _check(self):
        missing = self._missing()
        if missing:
            raise ClusterError('missing: %s; run: test/setup cluster, or apt-get install %s' % (', '.join(missing), ' '.join(missing)))
        if os.path.isdir(self.run_dir):
            maker, start = self.settings.get('maker', (0, 0))
            if self.settings.get('ready') and any(self.pids_of_host(node) for node in NODES):
                raise ClusterError('cluster "%s" is up already: patroni/cluster down --id %s takes it away' % (self.id, self.id))
            if maker and maker != os.getpid() and process.started(maker) == start:
                raise ClusterError('cluster "%s" is being made by process %d' % (self.id, maker))

    def _check_extension(self):
        path = os.path.join(ask_pg_config('pkglibdir'), 'unrdf.so')
        if not os.path.exists(path):
            raise ClusterError('the extension is not installed: run make && make install (there is no %s)' % path)

    def up(self):
        """Makes the cluster, from nothing to a database with the extension on three healthy nodes."""
        if self.settings['disk'] and not self.is_root:
            raise NotPossible('only root can mount a disk')
        self._check()
        self._check_extension()
        asked = {name: self.settings[name] for name in ('ttl_set', 'strict', 'fence', 'disk', 'clock', 'loopback')}
        self.down()
        try:
            self._make(asked)
        except BaseException:
            self.keep_logs()
            self.down()
            raise

    def _make(self, asked):
        ttl_set = asked['ttl_set'] or render.ttl_set_for(render.installed_patroni())
        os.makedirs(self.base_dir, exist_ok=True)
        if os.stat(self.base_dir).st_uid != os.getuid():
            raise ClusterError('%s belongs to somebody else: name a folder with UNRDF_HA_DIR' % self.base_dir)
        os.mkdir(self.run_dir, 0o755)
        self.settings = dict(asked, ttl_set=ttl_set, network=self.hosts.network, bin_dir=ask_pg_config('bindir'),
                             maker=[os.getpid(), process.started(os.getpid())], ready=False)
        self._write('cluster.json', json.dumps(self.settings))
        self._make_files()
        self.hosts.up()
        for node in NODES:
            self.start('etcd', node)
        wait(lambda: all(self.etcd_api().is_healthy(self.etcd_url(node)) for node in NODES), 30, 'etcd')
        for node in NODES:
            self.start('patroni', node)
        self.wait_healthy(90)
        self._create_extension()
        self.settings['ready'] = True
        self._write('cluster.json', json.dumps(self.settings))

    def _make_files(self):
        shutil.copytree(render.HERE, self._path('tools'), ignore=shutil.ignore_patterns('__pycache__', 'local'))
        passwords = {name: secrets.token_hex(16) for name in ('superuser_password', 'replication_password', 'rewind_password')}
        self._write('passwords.json', json.dumps(passwords), 0o600)
        for host in hosts.HOSTS:
            self._make_folder(self.node_dir(host), 0o755)
            self._make_folder(os.path.join(self.node_dir(host), 'log'), 0o755)
        self._write('client/pgpass', '*:*:*:postgres:%s\n' % passwords['superuser_password'], 0o600, self.user)
        if self.settings['clock']:
            hosts.run(['cc', '-O2', '-shared', '-fPIC', '-o', self._path('clock.so'), CLOCK_SOURCE])
        for node in NODES:
            self._make_folder(os.path.join(self.node_dir(node), 'disk'), 0o755)
            if self.settings['disk']:
                mounts.mount(self.node_dir(node), self.settings['disk'], self.user)
            self.make_empty(node)
            self._make_folder(os.path.join(self.node_dir(node), 'socket'), 0o755)
            self.set_clock(node, 0)
            self.configure(node)
        self._write('client/haproxy.cfg', render.render('haproxy.cfg', dict(self._values(1), haproxy_address=self.hosts.address('client'))))

    def make_empty(self, node):
        """The folders of a node's disk, with nothing in them."""
        for name in ('data', 'etcd'):
            path = os.path.join(self.node_dir(node), 'disk', name)
            shutil.rmtree(path, ignore_errors=True)
            self._make_folder(path, 0o700)

    def configure(self, node, left_out=('restore',), **changed):
        """Writes a node's configuration; changed are values for its templates."""
        values = dict(self._values(node), **self._read('passwords.json'), **changed)
        self._write('node%d/patroni.yml' % node, render.render('patroni.yml', values, left_out), 0o600, self.user)
        self._write('node%d/etcd.conf' % node, render.render('etcd.conf', values))

    def _values(self, node):
        folder = self.node_dir(node)
        addresses = {'pg%d' % number: self.hosts.address(number) for number in NODES}
        values = render.node_values(SCOPE, 'pg%d' % node, addresses, self.settings['ttl_set'])
        if not self.settings['fence']:
            values.update(fence_silence=0, sentinel_release='off')  # without a fence nobody's lease is safe to take
        return dict(
            values,
            strict=str(self.settings['strict']).lower(), reclone='true', fence='on' if self.settings['fence'] else 'off',
            max_connections=60, shared_buffers='64MB', wal_keep_size='256MB', checkpoint_timeout='60s', max_wal_size='512MB',
            bin_dir=self.settings['bin_dir'], data_dir=self.data_dir(node), pgpass=folder + '/pgpass', tools=self._path('tools'),
            config=folder + '/patroni.yml', socket_dir=folder + '/socket', log_dir=folder + '/log', log_key_file=folder + '/log.keys',
            os_user=self.user.pw_name, network=self.hosts.range(), etcd_data=folder + '/disk/etcd', etcd_state='new',
            archive_command='/bin/true', restore_options='',
            dynamic_shared_memory_type='mmap')  # files of the data directory, which go with it whoever is killed

    def _create_extension(self):
        """The extension in database postgres; the key that its first checkpoint has made goes to every node."""
        leader = self.leader()
        self.sql(leader, 'CREATE EXTENSION unrdf CASCADE', timeout=30)
        self.sql(leader, 'SELECT unrdf.record($$create$$, $$cluster$$)')
        wait(lambda: self.sql(leader, 'SELECT size > 0 FROM unrdf.log_size()') == 't', 30, 'the first receipt in the log')
        self.sql(leader, 'SELECT unrdf.publish_checkpoint()', timeout=30)
        with open(os.path.join(self.node_dir(leader), 'log.keys'), encoding='utf-8') as file:
            keys = file.read()
        for node in NODES:
            self._write('node%d/log.keys' % node, keys, 0o600, self.user)

    def down(self):
        """Takes everything away that is, or was, this cluster."""
        for host in hosts.HOSTS:
            process.thaw_all(lambda host=host: self.pids_of_host(host))
        for node in NODES:
            mounts.heal(self.node_dir(node))
            self._stop('patroni', node, signal.SIGKILL)  # it would start again what is stopped next
        for node in NODES:
            self._stop_server(node)
        for host in hosts.HOSTS:
            process.kill_all(lambda host=host: self.pids_of_host(host))
        self.hosts.down()
        if os.path.isdir(self.run_dir):
            mounts.unmount_all(self.run_dir)
            shutil.rmtree(self.run_dir)
        try:
            os.rmdir(self.base_dir)
        except OSError:
            pass

    def _stop(self, what, node, number):
        """Signals a process and waits for its end, but not for ever: what is left is killed in the end."""
        pid = self.pid(what, node)
        if pid:
            left = {pid: process.started(pid)}
            process.send(pid, number)
            process.wait_gone(left, 20)

    def _stop_server(self, node):
        """Stops a node's server in a way that leaves no shared memory, also where its postmaster had died before."""
        self._stop('postmaster', node, signal.SIGQUIT)
        process.kill_all(lambda: self.pids_of_server(node))
        try:
            with open(os.path.join(self.data_dir(node), 'postmaster.pid'), encoding='utf-8') as file:
                key, segment = file.read().split('\n')[6].split()
        except (OSError, IndexError, ValueError):
            return
        process.remove_shared_memory(int(key), int(segment))

    def keep_logs(self, folder=None):
        """Copies the logs of all nodes elsewhere, by default to what UNRDF_HA_KEEP names."""
        folder = folder or os.environ.get('UNRDF_HA_KEEP')
        if not folder:
            return
        for node in [node for node in NODES if os.path.isdir(os.path.join(self.node_dir(node), 'log'))]:
            shutil.copytree(os.path.join(self.node_dir(node), 'log'), os.path.join(folder, 'node%d' % node), dirs_exist_ok=True)

    # Questions

    def etcd_url(self, node):
        return 'http://%s:2379' % self.hosts.address(node)

    def etcd_api(self, timeout=1.0):
        return dcs.Etcd([self.etcd_url(node) for node in NODES], timeout,
                        lambda address, timeout: self.hosts.connect('client', address, timeout))

    def etcd(self, node, *command):
        """etcdctl from the client's host, asking one node's member, or all where node is None."""
        urls = ','.join(self.etcd_url(number) for number in ([node] if node else NODES))
        return hosts.run(self.command('client', ['env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints=' + urls, '--dial-timeout=1s',
                                                 '--command-timeout=3s'] + list(command)))

    def rest(self, node, path, method='GET', body=None, timeout=2.0):
        """Status and body of an answer of a node's Patroni."""
        address = (self.hosts.address(node), 8008)
        try:
            link = http.client.HTTPConnection(*address, timeout=timeout)
            link.sock = self.hosts.connect('client', address, timeout)
            link.request(method, path, json.dumps(body) if body is not None else None)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError('Patroni of node %d: %s' % (node, error)) from error

    def _first(self, ask):
        """What the first node answers that answers at all: all are asked at once, some may be silent."""
        pool = concurrent.futures.ThreadPoolExecutor(len(NODES))
        try:
            for done in concurrent.futures.as_completed([pool.submit(ask, node) for node in NODES]):
                if done.exception() is None:
                    return done.result()
        finally:
            pool.shutdown(wait=False)
        raise ClusterError('no node answers')

    def members(self):
        """Patroni's view: a list of dicts with name, role, state, timeline, lag, …"""
        def ask(node):
            status, text = self.rest(node, '/cluster')
            if status != 200:
                raise ClusterError('status %d' % status)
            return json.loads(text)['members']
        return self._first(ask)

    def leader(self):
        """The node that has the lease, as a majority of etcd says; None where there is none."""
        def ask(node):
            api = self.etcd_api()
            api.endpoints = [self.etcd_url(node)]
            return api.get('/service/%s/leader' % SCOPE)
        held = self._first(ask)
        return int(held.text[2:]) if held else None

    def sync_standby(self):
        """The synchronous standby, as Patroni has it; None where there is none."""
        for member in self.members():
            if member['role'] == 'sync_standby':
                return int(member['name'][2:])
        return None

    def sql(self, node, query, timeout=5, db='postgres'):
        """What psql on a node prints for a query, by the node's socket."""
        command = self.psql_command(node, ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', db, '-c', query])
        try:
            done = subprocess.run(command, env=self._environment(node), cwd='/', stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise ClusterError('node %d: no answer within %s s' % (node, timeout)) from error
        if done.returncode != 0:
            raise ClusterError('node %d: %s' % (node, done.stderr.strip()))
        return done.stdout.strip()

    def psql_command(self, node, arguments):
        return self.command(node, [os.path.join(self.settings['bin_dir'], 'psql'), '-h', os.path.join(self.node_dir(node), 'socket'),
                                   '-U', 'postgres'] + list(arguments))

    def dsn(self, user='postgres', db='postgres', attributes='read-write'):
        """A connection string for the client's host that finds the node to write to; the password is in a file."""
        return ('host=%s port=5432 user=%s dbname=%s target_session_attrs=%s connect_timeout=2 tcp_user_timeout=3000 keepalives_idle=1 '
                'keepalives_interval=1 keepalives_count=3 passfile=%s' % (
                    ','.join(self.hosts.address(node) for node in NODES), user, db, attributes, self._path('client', 'pgpass')))

    def is_healthy(self):
        """A leader and two streaming standbys, one of them synchronous, on one timeline; three members of etcd."""
        members = self.members()
        leaders = [m for m in members if m['role'] == 'leader' and m['state'] == 'running']
        standbys = [m for m in members if m['role'] in ('replica', 'sync_standby') and m['state'] in ('running', 'streaming')]
        synchronous = [m for m in standbys if m['role'] == 'sync_standby']
        if [len(leaders), len(standbys), len(synchronous), len({m.get('timeline') for m in members})] != [1, 2, 1, 1]:
            return False
        if not all(self.etcd_api().is_healthy(self.etcd_url(node)) for node in NODES):
            return False
        return self.sql(int(leaders[0]['name'][2:]),
                        "SELECT count(*) FILTER (WHERE state = 'streaming'), count(*) FILTER (WHERE sync_state = 'sync') "
                        'FROM pg_stat_replication') == '2|1'

    def wait_healthy(self, timeout=90):
        wait(self.is_healthy, timeout, 'a healthy cluster', 0.2)

    # Changes

    def switchover(self, to=None, timeout=60):
        """Has the leader hand over; returns the new one."""
        leader = self.leader()
        if leader is None:
            raise ClusterError('there is no leader')
        to = to or self.sync_standby()
        status, text = self.rest(leader, '/switchover', 'POST', {'leader': 'pg%d' % leader, 'candidate': 'pg%s' % to}, timeout)
        if status != 200:
            raise ClusterError('switchover: %s' % text)
        wait(lambda: self.leader() == to, timeout, 'node %s to lead' % to)
        return to

    def fault(self, kind, node=None, **options):
        """Injects a fault (faults.py); returns the node that it has hit."""
        return faults.inject(self, kind, node, options)

    def heal(self):
        """Makes the cluster as up() made it, whatever was done to it."""
        faults.heal(self)
