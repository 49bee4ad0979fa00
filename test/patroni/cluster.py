"""patroni/cluster itself: what it makes works, survives the loss of its leader, and leaves nothing behind, whoever runs it."""
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from local import Cluster, process
from local.cluster import NODES, pg_config, wait

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVER = os.environ.get('UNRDF_DRIVER') or os.path.join(os.path.dirname(os.path.dirname(HERE)), 'patroni', 'cluster')
IDS = ('test-%d' % os.getpid(), 'test-%d-b' % os.getpid())


def driver(command, *arguments, cluster_id=IDS[0], ok=True):
    done = subprocess.run([DRIVER, command, '--id', cluster_id] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=200, check=False)
    if ok and done.returncode != 0:
        raise AssertionError('%s: %s' % (command, done.stdout))
    return done.stdout


def traces(cluster_id):
    """Whatever there is of a cluster: processes, folders, namespaces, mounts, shared memory."""
    folder = Cluster(cluster_id).run_dir
    found = [folder] if os.path.exists(folder) else []
    for pid in process.all_pids():
        for part in ('environ', 'cmdline'):
            try:
                with open('/proc/%d/%s' % (pid, part), 'rb') as file:
                    if (folder + '/').encode() in file.read() and pid != os.getpid():
                        found.append('process %d' % pid)
            except OSError:
                pass
    if os.path.isdir('/run/netns'):
        found += [name for name in os.listdir('/run/netns') if name.rsplit('-', 1)[0] == 'unrdf-' + cluster_id]
    with open('/proc/mounts', encoding='utf-8') as file:
        found += [line for line in file if folder + '/' in line]
    return found


def segments_of(cluster):
    """Key and id of the shared memory that each node's server, dead or alive, has noted."""
    found = []
    for node in NODES:
        with open(os.path.join(cluster.data_dir(node), 'postmaster.pid'), encoding='utf-8') as file:
            found.append(tuple(file.read().split('\n')[6].split()))
    return found


def all_segments():
    with open('/proc/sysvipc/shm', encoding='ascii') as file:
        return [tuple(line.split()[:2]) for line in list(file)[1:]]


def text_from(path, position):
    with open(path, encoding='utf-8') as file:
        file.seek(position)
        return file.read()


class Whole(unittest.TestCase):
    """The cases build on each other, in the order of their names; the clusters are made once."""

    @classmethod
    def setUpClass(cls):
        own_devices = ['--clock'] + (['--disk', '512'] if os.getuid() == 0 else [])
        makers = [subprocess.Popen([DRIVER, 'up', '--id', name] + options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                  for name, options in zip(IDS, ([], own_devices))]
        cls.said = [maker.communicate(timeout=200)[0] for maker in makers]

    @classmethod
    def tearDownClass(cls):
        for name in IDS:
            driver('down', cluster_id=name)

    def test_10_two_side_by_side(self):
        for said in self.said:
            self.assertEqual((said.count('leader  '), said.count('sync_standby')), (2, 1), said)  # Patroni's and etcd's

    def test_11_up_twice(self):
        self.assertIn('is up already', driver('up', ok=False))

    def test_12_every_node_answers(self):
        self.assertEqual(driver('psql', '-Atc', 'SELECT pg_is_in_recovery()'), 'f\n')
        self.assertEqual(sorted(driver('psql', str(node), '-Atc', 'SELECT pg_is_in_recovery()') for node in NODES), ['f\n', 't\n', 't\n'])

    def test_13_the_extension_runs_on_it(self):
        cluster = Cluster(IDS[0])
        leader = cluster.leader()
        self.assertEqual(cluster.sql(leader, "SELECT payload IS NULL, operation FROM unrdf.receipt ORDER BY id LIMIT 1"), 't|create')
        self.assertEqual({cluster.sql(node, 'SHOW unrdf.node_name') for node in NODES}, {'pg1', 'pg2', 'pg3'})
        keys = {open(os.path.join(cluster.node_dir(node), 'log.keys'), encoding='utf-8').read() for node in NODES}
        self.assertEqual(len(keys), 1)

    def test_14_members_and_their_checkpoints(self):
        """What unrdf.cluster says is what there is, and comes to be that every member has the newest checkpoint."""
        cluster = Cluster(IDS[0])
        cluster.wait_healthy()
        leader, sync = cluster.leader(), cluster.sync_standby()
        size = cluster.sql(leader, 'SELECT unrdf.publish_checkpoint()')
        rows = "SELECT member, role, fence, lease_left > '0 s', is_this_node FROM unrdf.cluster ORDER BY member"
        expected = ['pg%d|%s' % (node, {leader: 'leader|armed|t|t', sync: 'sync_standby|||f'}.get(node, 'replica|||f'))
                    for node in NODES]
        self.assertEqual(driver('psql', '-Atc', rows).splitlines(), expected)
        wait(lambda: cluster.sql(leader, 'SELECT DISTINCT checkpoint_size FROM unrdf.cluster') == size, 30, 'the checkpoint on all members')

    def test_15_secrets_are_on_no_command_line(self):
        with open(os.path.join(Cluster(IDS[0]).run_dir, 'client', 'pgpass'), encoding='utf-8') as file:
            password = file.read().strip().rsplit(':', 1)[1]
        for pid in process.all_pids():
            try:
                with open('/proc/%d/cmdline' % pid, 'rb') as file:
                    self.assertNotIn(password.encode(), file.read())
            except OSError:
                pass
        for node in NODES:
            for what in ('patroni', 'postgresql'):
                with open(Cluster(IDS[0]).log_path(what, node), encoding='utf-8') as file:
                    self.assertNotIn(password, file.read())

    def test_20_a_client_finds_the_new_leader(self):
        """The postmaster is killed; what a client wrote before and after is there, and the old leader comes back."""
        cluster = Cluster(IDS[0])
        old = cluster.leader()
        self.client('CREATE TABLE acknowledged (id int); INSERT INTO acknowledged VALUES (1)')
        self.assertEqual(driver('fault', 'kill-postmaster'), 'kill-postmaster: node %d\n' % old)
        wait(lambda: cluster.leader() not in (None, old), 60, 'a new leader')
        wait(lambda: self.client('INSERT INTO acknowledged VALUES (2)', ok=False) == 0, 60, 'a client that can write')
        driver('heal')
        self.assertEqual({cluster.sql(node, "SELECT count(*) > 1 AND bool_or(id = 1) FROM acknowledged") for node in (cluster.leader(),)}, {'t'})
        with open(cluster.log_path('patroni', cluster.leader()), encoding='utf-8') as file:
            log = file.read()
        self.assertIn('pre_promote: promote: ', log)
        self.assertIn('on_role_change: pg%d of unrdf is now ' % cluster.leader(), log)

    def client(self, query, ok=True):
        cluster = Cluster(IDS[0])
        done = cluster.popen_in_client(['psql', '-X', '-v', 'ON_ERROR_STOP=1', '-c', query, '-d', cluster.dsn()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = done.communicate(timeout=30)[0]
        self.assertTrue(done.returncode == 0 or not ok, said)
        return done.returncode

    def test_21_etcd_is_not_led_from_the_leaders_host(self):
        cluster = Cluster(IDS[0])
        wait(lambda: not cluster.etcd_api().leads(cluster.etcd_url(cluster.leader())), 10, 'etcd to be led elsewhere')

    def test_22_switchover(self):
        cluster = Cluster(IDS[0])
        to = cluster.sync_standby()
        self.assertEqual(driver('switchover'), 'node %d leads\n' % to)
        cluster.wait_healthy()

    def test_23_the_guard_refuses_alone(self):
        """Both others' servers are silent: whoever is asked then does not promote, and /sync is as it was."""
        cluster = Cluster(IDS[0])
        cluster.wait_healthy()
        leader, asked = cluster.leader(), cluster.sync_standby()
        config = os.path.join(cluster.node_dir(asked), 'patroni.yml')
        peers = ['%s:5432' % cluster.hosts.address(node) for node in NODES if node != asked]
        run = lambda: cluster.popen(asked, [os.path.join(cluster.run_dir, 'tools', 'pre_promote'), config] + peers,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        willing = run()
        self.assertIn('promote: ', willing.communicate(timeout=20)[0])
        self.assertEqual(willing.returncode, 0)
        for node in NODES:
            if node != asked:
                cluster.fault('stop-postgres', node)
        refusing = run()
        said = refusing.communicate(timeout=20)[0]
        for node in NODES:
            process.thaw_all(lambda node=node: cluster.pids_of_server(node))
        self.assertIn('REFUSED: 0 of 2 other nodes answer, 1 have to', said)
        self.assertEqual(refusing.returncode, 1)
        driver('heal')

    def test_24_a_promotion_is_refused(self):
        """Patroni itself asks: the leader is gone, the third server is silent. Nobody leads until that answers."""
        cluster = Cluster(IDS[0])
        cluster.wait_healthy()
        leader, asked = cluster.leader(), cluster.sync_standby()
        silent = next(node for node in NODES if node not in (leader, asked))
        log = cluster.log_path('patroni', asked)
        before = os.path.getsize(log)
        cluster.fault('stop-postgres', silent)
        cluster.fault('kill-host', leader)
        wait(lambda: 'REFUSED: 0 of 2 other nodes answer, 1 have to' in text_from(log, before), 60, 'a refusal')
        self.assertEqual(cluster.sql(asked, 'SELECT pg_is_in_recovery()'), 't')
        process.thaw_all(lambda: cluster.pids_of_server(silent))
        wait(lambda: cluster.sql(asked, 'SELECT pg_is_in_recovery()') == 'f', 60, 'a promotion')
        driver('heal')

    def test_25_haproxy_leads_to_the_leader(self):
        cluster = Cluster(IDS[0])
        proxy = cluster.popen_in_client(['haproxy', '-db', '-f', cluster.run_dir + '/client/haproxy.cfg'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for port, standby in ((5000, 'f'), (5001, 't')):
                dsn = 'host=%s port=%d user=postgres dbname=postgres connect_timeout=2' % (cluster.hosts.address('client'), port)
                wait(lambda: cluster.popen_in_client(['psql', '-XAtq', '-d', dsn, '-c', 'SELECT pg_is_in_recovery()'], stdout=subprocess.PIPE,
                                                     stderr=subprocess.DEVNULL, text=True).communicate(timeout=20)[0] == standby + '\n', 20, 'port %d' % port)
        finally:
            proxy.terminate()
            proxy.wait(timeout=10)

    def test_30_bad_input(self):
        for arguments, pattern in (
                (('fault', 'flood'), 'no fault "flood": there are '), (('fault', 'kill-host', '4'), 'no node "4"'),
                (('psql', '1', '-c', 'SELECT 1/0'), 'division by zero'), (('exec', '1'), 'exec needs a node and a command'),
                (('switchover', 'pg7'), 'no node "7"'), (('fault', 'latency', 'ms=long'), 'ms has to be a number, not "long"'),
                (('fault', 'loss', 'percent=0'), 'percent has to be greater than 0'), (('fault', 'loss', 'ms=1'), 'fault loss has no "ms"')):
            self.assertIn(pattern, driver(*arguments, ok=False))
        self.assertIn('an id is up to 16', driver('status', cluster_id='No Id', ok=False))
        self.assertIn('there is no cluster "nowhere"', driver('status', cluster_id='nowhere', ok=False))
        self.assertIn('no ttl set "t1"', driver('up', '--ttl-set', 't1', cluster_id='nowhere', ok=False))

    def test_40_faults_of_the_network(self):
        """As root the leader's packets are lost and it is replaced; otherwise the message says who can do that."""
        cluster = Cluster(IDS[0])
        if cluster.settings['loopback']:
            self.assertIn('not possible here: the network', driver('fault', 'partition', ok=False))
            return
        old = cluster.leader()
        driver('fault', 'link-down', str(cluster.sync_standby()))
        wait(lambda: cluster.sync_standby() is not None and cluster.leader() == old, 60, 'another synchronous standby')
        driver('heal')

    def test_41_latency_and_loss(self):
        cluster = Cluster(IDS[1])
        if cluster.settings['loopback']:
            self.assertIn('not possible here: the network', driver('fault', 'latency', cluster_id=IDS[1], ok=False))
            return
        node = self.a_standby(cluster)
        driver('fault', 'latency', str(node), 'ms=200', cluster_id=IDS[1])
        wait(lambda: self.round_trip(cluster, node) >= 0.2, 10, 'a round trip that takes 200 ms')
        driver('heal', cluster_id=IDS[1])
        self.assertLess(self.round_trip(cluster, node), 0.2)
        driver('fault', 'loss', str(node), 'percent=100', cluster_id=IDS[1])
        with self.assertRaises(OSError):
            self.round_trip(cluster, node)
        driver('heal', cluster_id=IDS[1])

    @staticmethod
    def a_standby(cluster):
        cluster.wait_healthy()
        return cluster.leader() % 3 + 1

    @staticmethod
    def round_trip(cluster, node):
        start = time.monotonic()
        cluster.hosts.connect('client', (cluster.hosts.address(node), 2379), 1.0).close()
        return time.monotonic() - start

    def test_42_a_clock_of_its_own(self):
        cluster = Cluster(IDS[1])
        node = self.a_standby(cluster)
        driver('fault', 'clock-step', str(node), 'seconds=-7200', cluster_id=IDS[1])
        ago = 'SELECT round(extract(epoch FROM clock_timestamp()))'
        self.assertAlmostEqual(float(cluster.sql(node, ago)), time.time() - 7200, delta=30)
        self.assertAlmostEqual(float(cluster.sql(node % 3 + 1, ago)), time.time(), delta=30)
        driver('heal', cluster_id=IDS[1])
        self.assertAlmostEqual(float(cluster.sql(node, ago)), time.time(), delta=30)
        self.assertIn('not possible here: the clock is the machine\'s', driver('fault', 'clock-step', '1', ok=False))

    def test_43_a_disk_of_its_own(self):
        """A full disk takes nothing more; a slow one takes longer, or the machine says that it cannot be slowed."""
        self.assertIn('not possible here: the node has no disk', driver('fault', 'disk-full', '1', ok=False))
        cluster = Cluster(IDS[1])
        if not cluster.settings['disk']:
            return
        node = self.a_standby(cluster)
        disk = os.path.join(cluster.node_dir(node), 'disk')
        if os.path.exists('/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device'):
            driver('fault', 'slow-disk', str(node), 'writes=5', cluster_id=IDS[1])
            self.assertGreater(self.write_time(disk), 0.3)
            driver('heal', cluster_id=IDS[1])
        else:
            self.assertIn('not possible here: a whole disk', driver('fault', 'slow-disk', str(node), cluster_id=IDS[1], ok=False))
        driver('fault', 'disk-full', str(node), cluster_id=IDS[1])
        with self.assertRaisesRegex(OSError, 'No space left'):
            self.write_time(disk)
        driver('heal', cluster_id=IDS[1])
        self.write_time(disk)

    @staticmethod
    def write_time(folder):
        start = time.monotonic()
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(5):
                file.write(b'x' * 8192)
                file.flush()
                os.fsync(file.fileno())
        return time.monotonic() - start

    def test_50_down_after_a_fault(self):
        """Stopped processes go as well, and a host's that was killed leaves no shared memory."""
        segments = segments_of(Cluster(IDS[0]))
        self.assertEqual([segment for segment in segments if segment not in all_segments()], [])
        driver('fault', 'kill-host', '1')
        driver('fault', 'stop-host', '2')
        driver('down')
        self.assertEqual(traces(IDS[0]), [])
        self.assertEqual([segment for segment in segments if segment in all_segments()], [])
        self.assertTrue(Cluster(IDS[1]).is_healthy())

    def test_60_a_driver_that_was_killed(self):
        """Whatever an "up" that was killed in the middle has left, the next "down" takes away."""
        for signal_number in (signal.SIGKILL, signal.SIGTERM):
            maker = subprocess.Popen([DRIVER, 'up', '--id', IDS[0]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait(lambda: Cluster(IDS[0]).pid('patroni', 3), 60, 'the processes of a cluster that is being made')
            if signal_number == signal.SIGKILL:
                self.assertIn('is being made by process %d' % maker.pid, driver('up', ok=False))
            maker.send_signal(signal_number)
            maker.wait(timeout=60)
            if signal_number == signal.SIGKILL:
                self.assertNotEqual(traces(IDS[0]), [])
                driver('down')
            self.assertEqual(traces(IDS[0]), [])

    def test_70_nothing_is_left(self):
        """Not even the limit of a disk's writes, which belongs to a device that others use afterwards."""
        limits = self.limits()
        if limits is not None and Cluster(IDS[1]).settings['disk']:
            driver('fault', 'slow-disk', '2', cluster_id=IDS[1])
            self.assertNotEqual(self.limits(), limits)
        for name in IDS:
            driver('down', cluster_id=name)
            self.assertEqual(traces(name), [])
        self.assertEqual(self.limits(), limits)

    @staticmethod
    def limits():
        try:
            with open('/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device', encoding='ascii') as file:
                return file.read()
        except OSError:
            return None


class OrdinaryUser(unittest.TestCase):
    """Root's driver run by somebody who cannot make namespaces: hosts are addresses."""

    def test_loopback(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(os.path.dirname(DRIVER), folder + '/patroni')
        os.chmod(folder, 0o755)
        prefix = ['runuser', '-u', 'postgres', '--'] if os.getuid() == 0 else []

        def run(command, *arguments, cluster_id=IDS[0]):
            done = subprocess.run(prefix + [folder + '/patroni/cluster', command, '--id', cluster_id] + list(arguments), cwd='/', timeout=200,
                                  env={'PATH': os.environ['PATH'], 'PG_CONFIG': pg_config()}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            return done.stdout
        try:
            self.assertIn('127.', run('up'))
            self.assertIn('not possible here: the network between hosts', run('fault', 'partition'))
            self.assertIn('not possible here: only root can mount a disk', run('up', '--disk', '512', cluster_id='other'))
            self.assertEqual(run('psql', '-Atc', 'CREATE TABLE t AS SELECT 1'), 'SELECT 1\n')
            run('fault', 'kill-host')
            self.assertIn('sync_standby', run('heal'))
            self.assertEqual(run('psql', '-Atc', 'SELECT count(*) FROM t'), '1\n')
        finally:
            self.assertEqual(run('down'), '')
        owner = pwd.getpwnam('postgres') if prefix else pwd.getpwuid(os.getuid())
        self.assertFalse(os.path.exists('/var/tmp/unrdf-ha-%d/%s' % (owner.pw_uid, IDS[0])))
