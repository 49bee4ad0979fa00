"""What patroni/README.md tells to do, done on a local cluster with the fence on, and what has come of it: test/ha/run runbook.

Commands are the page's own but for systemctl, which is a process to start or stop here, and paths. Every chapter ends as it began: with
three healthy nodes, every acknowledged job done, and nothing found wrong in any node's log.
"""
import json
import os
import shutil
import signal
import subprocess
import time

from driver import ClusterError, process

NODES = (1, 2, 3)
SHORT = 90

PGBACKREST = '''[global]
repo1-path=%(repository)s
repo1-retention-full=2
start-fast=y
log-level-console=warn
log-path=%(node)s/log
spool-path=%(node)s/log
lock-path=%(node)s/log
[unrdf]
pg1-path=%(data)s
pg1-socket-path=%(node)s/socket
'''


ENQUEUE = '''
SELECT count(*) FROM (SELECT array_agg(jsonb_build_object('key', g)) AS args, array_agg('job ' || g) AS keys FROM generate_series(%d, %d) AS g) AS a,
	unrdf.enqueue_many('work', a.args, keys => a.keys, key_window => '1 day')'''


class Wrong(Exception):
    """Something did not come to what the page says."""


def expect(condition, what):
    if not condition:
        raise Wrong(what)


class Runbook:
    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder
        self.jobs = 0

    # What the page's commands are here

    def run(self, *command, node=1, answer='', timeout=SHORT):
        """A command on a node; returns what it prints. One that fails is wrong."""
        print('# pg%s $ %s' % (node, ' '.join(command)), flush=True)
        child = self.cluster.popen(node, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            text = child.communicate(answer, timeout)[0]
        except subprocess.TimeoutExpired:
            child.kill()
            raise Wrong('%s does not end' % command[0]) from None
        expect(child.returncode == 0, '%s says: %s' % (' '.join(command), text.strip()))
        return text

    def etcdctl(self, *command, nodes=NODES):
        endpoints = ','.join(self.cluster.etcd_url(node) for node in nodes)
        return self.run('env', 'ETCDCTL_API=3', 'ETCDCTL_ENDPOINTS=' + endpoints, 'etcdctl', *command, node='client')

    def stop(self, what, node):
        """systemctl stop"""
        pid = self.cluster.pid(what, node)
        left = {pid: process.started(pid)}
        process.send(pid, signal.SIGTERM)
        process.wait_gone(left, 60)
        expect(self.cluster.pid(what, node) is None, '%s of pg%d does not stop' % (what, node))

    def wait(self, condition, what, timeout=SHORT):
        until = time.monotonic() + timeout
        while True:
            try:
                if condition():
                    return
            except (ClusterError, OSError):
                pass
            expect(time.monotonic() < until, 'in vain: %s' % what)
            time.sleep(0.2)

    def leader(self):
        leader = self.cluster.leader()
        if leader is None:
            raise ClusterError('there is no leader')
        return leader

    def sql(self, query, node=None):
        return self.cluster.sql(node or self.leader(), query, timeout=20)

    def listed(self):
        """patronictl list, as members by name."""
        return {member['Member']: member for member in json.loads(self.run('patronictl', 'list', '-f', 'json'))}

    # What has to be true

    def work(self, n=20, node=None):
        """Has jobs done that every later check counts: asked for by their keys until that is acknowledged."""
        query = ENQUEUE % (self.jobs + 1, self.jobs + n)
        self.wait(lambda: self.sql(query, node) == str(n), 'writes')
        self.jobs += n

    def check(self):
        """Three healthy nodes with the fence on, every job done once, and one log."""
        self.wait(self.cluster.is_healthy, 'a healthy cluster', 150)
        self.wait(lambda: self.sql('SELECT count(*) FROM ha.effect') == str(self.jobs), '%d effects' % self.jobs)
        expect(self.sql('SELECT count(DISTINCT job) = count(*) FROM ha.effect') == 't', 'a job has two effects')
        self.wait(lambda: self.sql('SELECT size = (SELECT count(*) FROM unrdf.receipt) FROM unrdf.log_size()') == 't', 'all receipts in the log')
        sizes = []
        for node in NODES:
            end = self.sql('SELECT pg_current_wal_lsn()')
            self.wait(lambda node=node, end=end: node == self.leader() or
                      self.sql("SELECT pg_last_wal_replay_lsn() >= '%s'" % end, node) == 't', 'replay on pg%d' % node)
            expect(self.sql('SELECT count(*) FROM unrdf.verify_all()', node) == '0', 'verify_all() finds something on pg%d' % node)
            sizes.append(self.sql("SELECT size, encode(root, 'hex') FROM unrdf.log_size()", node))
        expect(len(set(sizes)) == 1, 'logs differ: %s' % sizes)
        # a member says how it is every second
        self.wait(lambda: self.sql('SELECT count(*) FROM unrdf.cluster') == '3' and
                  self.sql("SELECT fence FROM unrdf.cluster WHERE role = 'leader'") == 'armed', 'the leader to be armed')

    # The page's chapters

    def settings_and_restarts(self):
        self.run('patronictl', 'show-config', 'unrdf')
        self.run('patronictl', 'edit-config', 'unrdf', '--force', '-p', 'max_connections=70')
        self.wait(lambda: all(member.get('Pending restart') for member in self.listed().values()), 'all nodes to need a restart')
        self.run('patronictl', 'restart', 'unrdf', '--pending', '--force')
        self.wait(lambda: self.sql('SHOW max_connections') == '70', 'the setting')
        self.check()
        self.run('patronictl', 'reload', 'unrdf', '--force')
        self.work()
        self.run('patronictl', 'restart', 'unrdf', '--role', 'replica', '--force')
        self.check()
        before = self.leader()
        self.run('patronictl', 'switchover', 'unrdf', '--force')
        self.wait(lambda: self.cluster.leader() not in (None, before), 'another leader')
        self.work()
        self.run('patronictl', 'restart', 'unrdf', '--role', 'replica', '--force')
        self.run('patronictl', 'history', 'unrdf')

    def maintenance(self):
        self.run('patronictl', 'pause', 'unrdf', '--wait')
        self.wait(lambda: self.sql("SELECT fence FROM unrdf.cluster WHERE role = 'leader'") == 'paused', 'the fence to stand aside')
        leader = self.leader()
        self.cluster.fault('kill-patroni', leader)
        time.sleep(7)  # longer than ttl: what must not happen has no event that could be awaited
        self.work(node=leader)
        expect(self.cluster.pid('postmaster', leader) is not None, 'the primary ended while the cluster was paused')
        self.cluster.start('patroni', leader)
        self.run('patronictl', 'resume', 'unrdf', '--wait')

    def node_anew(self):
        standby = next(node for node in NODES if node != self.leader())
        self.run('patronictl', 'reinit', 'unrdf', 'pg%d' % standby, '--force', '--wait')
        self.work()

    def host_replaced(self, lost):
        """A host is lost for good, and another one takes its name and address."""
        left = [node for node in NODES if node != lost]
        self.cluster.fault('power-loss', lost)
        self.wait(lambda: self.cluster.leader() in left, 'one that is left to lead')
        self.work()
        self.cluster.hosts.heal()
        member = next(line.split(',')[0] for line in self.etcdctl('member', 'list', nodes=left).splitlines() if ' pg%d,' % lost in line)
        self.etcdctl('member', 'remove', member, nodes=left)
        self.etcdctl('member', 'add', 'pg%d' % lost, '--peer-urls=http://%s:2380' % self.cluster.hosts.address(lost), nodes=left)
        self.cluster.make_empty(lost)
        self.cluster.configure(lost, etcd_state='existing')
        for what in ('etcd', 'patroni'):
            self.cluster.start(what, lost)

    def member_added(self, node, there):
        """Lets a member in; says what etcdctl does. Members that have just come are not trusted for some seconds."""
        until = time.monotonic() + SHORT
        while True:
            try:
                return self.etcdctl('member', 'add', 'pg%d' % node, '--peer-urls=http://%s:2380' % self.cluster.hosts.address(node), nodes=there)
            except Wrong as error:
                if 'unhealthy cluster' not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(1)

    def etcd_majority_lost(self):
        """Two members of etcd are gone for good, with their disks."""
        kept, lost = 1, (2, 3)
        self.work()
        for node in lost:
            process.send(self.cluster.pid('etcd', node), signal.SIGKILL)
            self.wait(lambda node=node: self.cluster.pid('etcd', node) is None, 'the end of an etcd')
            shutil.rmtree(os.path.join(self.cluster.node_dir(node), 'disk', 'etcd'))
        self.wait(lambda: all(self.sql('SELECT pg_is_in_recovery()', node) == 't' for node in NODES), 'everything to be read-only')
        for forced in (True, False):
            self.stop('etcd', kept)
            self.cluster.configure(kept)
            if forced:
                with open(os.path.join(self.cluster.node_dir(kept), 'etcd.conf'), 'a', encoding='utf-8') as file:
                    file.write('ETCD_FORCE_NEW_CLUSTER=true\n')
            self.cluster.start('etcd', kept)
            self.wait(lambda: self.cluster.etcd_api().is_healthy(self.cluster.etcd_url(kept)), 'etcd alone')
        there = [kept]
        for node in lost:
            said = self.member_added(node, there)
            members = next(line.split('=', 1)[1].strip('"') for line in said.splitlines() if line.startswith('ETCD_INITIAL_CLUSTER='))
            path = os.path.join(self.cluster.node_dir(node), 'disk', 'etcd')
            os.mkdir(path, 0o700)
            shutil.chown(path, self.cluster.user.pw_uid, self.cluster.user.pw_gid)
            self.cluster.configure(node, etcd_state='existing', etcd_cluster=members)
            self.cluster.start('etcd', node)
            self.wait(lambda node=node: self.cluster.etcd_api().is_healthy(self.cluster.etcd_url(node)), 'etcd of pg%d' % node)
            there.append(node)
        self.etcdctl('endpoint', 'health')
        self.etcdctl('endpoint', 'status', '-w', 'table')
        self.wait(lambda: self.cluster.leader() is not None, 'a leader')
        self.work()

    def single_copy(self):
        """Writes hang, since no standby is left; a single copy has to do for a while."""
        leader = self.leader()
        lost = [node for node in NODES if node != leader]
        for node in lost:
            for what in ('patroni', 'postmaster'):
                process.send(self.cluster.pid(what, node), signal.SIGKILL)
        config = ['patronictl', 'edit-config', 'unrdf', '--force', '-s']
        self.run(*config, 'synchronous_mode=false', node=leader)
        self.work(node=leader)
        self.run(*config, 'synchronous_mode=true', node=leader)
        for node in lost:
            self.cluster.start('patroni', node)

    # Backup and restore

    def pgbackrest(self, *command, node=None):
        node = node or self.leader()
        return self.run('pgbackrest', '--config=' + os.path.join(self.cluster.node_dir(node), 'pgbackrest.conf'), '--stanza=unrdf', *command, node=node)

    def backup(self):
        repository = os.path.join(self.folder, 'repository')
        os.makedirs(repository)
        shutil.chown(repository, self.cluster.user.pw_uid, self.cluster.user.pw_gid)
        for node in NODES:
            with open(os.path.join(self.cluster.node_dir(node), 'pgbackrest.conf'), 'w', encoding='utf-8') as file:
                file.write(PGBACKREST % dict(repository=repository, node=self.cluster.node_dir(node), data=self.cluster.data_dir(node)))
        # the path differs from node to node here, hence a shell
        self.run('patronictl', 'edit-config', 'unrdf', '--force', '-p',
                 'archive_command=pgbackrest --config=$PWD/../../pgbackrest.conf --stanza=unrdf archive-push %p')
        self.wait(lambda: 'pgbackrest' in self.sql('SHOW archive_command'), 'the setting')
        self.pgbackrest('stanza-create')
        self.pgbackrest('check')
        self.work()
        self.check()
        self.pgbackrest('--type=full', 'backup')
        self.pgbackrest('info')

    def restore(self, options):
        """The whole cluster out of the backup."""
        for node in NODES:
            self.stop('patroni', node)
            self.wait(lambda node=node: self.cluster.pid('postmaster', node) is None, 'the end of PostgreSQL on pg%d' % node)
        self.run('patronictl', 'remove', 'unrdf', answer='unrdf\nYes I am aware\n')
        for node in NODES:
            os.rename(self.cluster.data_dir(node), self.cluster.data_dir(node) + '.old')
            self.cluster.configure(node, left_out=(), archive_command='pgbackrest --config=$$PWD/../../pgbackrest.conf --stanza=unrdf archive-push %p'.replace('$$', '$'),
                                   restore_options='--config=%s %s' % (os.path.join(self.cluster.node_dir(node), 'pgbackrest.conf'), options))
            self.cluster.start('patroni', node)
        self.wait(self.cluster.is_healthy, 'a healthy cluster', 180)
        for node in NODES:
            shutil.rmtree(self.cluster.data_dir(node) + '.old')
            self.cluster.configure(node)

    def restored_to_the_end(self):
        self.work()
        self.sql('SELECT pg_switch_wal()')
        self.wait(lambda: self.sql("SELECT last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1) FROM pg_stat_archiver") == 't', 'the archive')
        self.restore('')

    def restored_to_a_time(self):
        self.check()
        then, jobs = self.sql('SELECT clock_timestamp()'), self.jobs
        self.wait(lambda: self.sql("SELECT clock_timestamp() > '%s'::timestamptz + interval '1 s'" % then) == 't', 'a second')
        self.work(7)
        self.check()
        self.sql('SELECT unrdf.publish_checkpoint()')
        self.sql('SELECT pg_switch_wal()')
        self.wait(lambda: self.sql("SELECT last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1) FROM pg_stat_archiver") == 't', 'the archive')
        self.restore('--type=time "--target=%s" --target-action=promote' % then)
        self.jobs = jobs
        self.work()
        self.wait(lambda: self.sql('SELECT publishing FROM unrdf.log_status') == 'refused', 'publishing to be refused')
        print('# %s' % self.sql('SELECT reason FROM unrdf.log_status'))
        self.sql("SELECT unrdf.new_origin('restored')")
        self.sql('SELECT unrdf.publish_checkpoint()')
        expect(self.sql('SELECT publishing FROM unrdf.log_status') == 'signed', 'publishing does not go on')

    def chapters(self):
        """Each with the name of what it does, in an order in which each has what it needs."""
        return [
            ('settings for all nodes, restarts, a switchover', self.settings_and_restarts),
            ('maintenance: nobody takes over', self.maintenance),
            ('a node is copied anew', self.node_anew),
            ('a host that led is lost for good and replaced', lambda: self.host_replaced(self.leader())),
            ('a host that did not lead is lost for good and replaced', lambda: self.host_replaced(
                next(node for node in NODES if node != self.leader()))),
            ("etcd's majority is lost for good", self.etcd_majority_lost),
            ('a single copy has to do', self.single_copy),
            ('a backup', self.backup),
            ('restored to the end of the archive', self.restored_to_the_end),
            ('restored to a time', self.restored_to_a_time)]


def hold(cluster, folder):
    """Does all chapters, as TAP tests; the first that fails is the last. Returns whether all is well."""
    book = Runbook(cluster, folder)
    chapters = book.chapters()
    print('1..%d' % len(chapters), flush=True)
    for number, (name, chapter) in enumerate(chapters, 1):
        began = time.monotonic()
        try:
            chapter()
            book.check()
        except (Wrong, ClusterError) as error:
            print('not ok %d - %s\n# %s' % (number, name, str(error).replace('\n', '\n# ')), flush=True)
            return False
        print('ok %d - %s\n# %.0f s' % (number, name, time.monotonic() - began), flush=True)
    return True
