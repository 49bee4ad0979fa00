"""What the templates become: of every Patroni its set of times, of every node its file, and nothing of bad input."""
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

import render
import yaml

HERE = os.path.dirname(os.path.abspath(render.__file__))
NODES = 'pg1=10.0.0.11,pg2=10.0.0.12,pg3=10.0.0.13'


class Times(unittest.TestCase):
    def test_by_version(self):
        for version, expected in (('2.1.4', 't5'), ('3.0.2', 't5'), ('3.1.9', 't5'), ('3.2.0', 't20'), ('4.0.4', 't20'), ('10.1', 't20')):
            self.assertEqual(render.ttl_set_for(version), expected, version)

    def test_patronis_rule(self):
        for name, times in render.TTL_SETS.items():
            self.assertLessEqual(times['loop_wait'] + 2 * times['retry_timeout'], times['ttl'], name)

    def test_release_only_with_silence(self):
        for name, times in render.TTL_SETS.items():
            self.assertEqual(times['sentinel_release'] == 'on', bool(times['fence_silence']), name)


class Blocks(unittest.TestCase):
    TEXT = 'a\n# block one\nb\n# end\nc\n'

    def test_kept(self):
        self.assertEqual(render.without_blocks(self.TEXT, ()), 'a\nb\nc\n')

    def test_left_out(self):
        self.assertEqual(render.without_blocks(self.TEXT, ('one',)), 'a\nc\n')

    def test_a_name_without_a_value_is_an_error(self):
        with self.assertRaises(KeyError):
            render.render('etcd.conf', {'name': 'pg1'})


class Configure(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.passwords = os.path.join(self.folder, 'passwords')
        self.run_it('--new-passwords', self.passwords)

    def run_it(self, *arguments):
        bindir = subprocess.run([os.environ['PG_CONFIG'], '--bindir'], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        options = ['--bin-dir', bindir, '--root', self.folder + '/system'] if '--node' in arguments else []
        return subprocess.run([os.path.join(HERE, 'configure')] + options + list(arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)

    def node(self, *arguments, nodes=NODES, node='pg2', network='10.0.0.0/24'):
        return self.run_it('--node', node, '--nodes', nodes, '--network', network, '--passwords', self.passwords, *arguments)

    def read(self, path):
        with open(os.path.join(self.folder, 'system', path), encoding='utf-8') as file:
            return file.read()

    def patroni(self):
        return yaml.safe_load(self.read('etc/patroni/config.yml'))

    def refused(self, done, pattern):
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, pattern)
        self.assertFalse(os.path.exists(self.folder + '/system/etc/patroni/config.yml'))

    def test_a_node(self):
        self.assertEqual(self.node().stdout, '')
        config = self.patroni()
        self.assertEqual(config['etcd3']['hosts'][0], '10.0.0.12:2379')
        self.assertEqual(config['postgresql']['pre_promote'].split()[1:], ['/etc/patroni/config.yml', '10.0.0.11:5432', '10.0.0.13:5432'])
        self.assertTrue(config['bootstrap']['dcs']['synchronous_mode_strict'])
        self.assertIn('ETCD_INITIAL_CLUSTER=pg1=http://10.0.0.11:2380,pg2=', self.read('etc/default/etcd'))

    def test_secrets_are_the_servers_users_alone(self):
        self.node()
        self.assertEqual(stat.S_IMODE(os.stat(self.folder + '/system/etc/patroni/config.yml').st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.passwords).st_mode), 0o600)
        with open(self.passwords, encoding='utf-8') as file:
            secrets = [line.strip().split('=', 1)[1] for line in file]
        for path in ('etc/default/etcd', 'etc/unrdf/haproxy.cfg'):
            for secret in secrets:
                self.assertNotIn(secret, self.read(path))

    def test_newer_patroni(self):
        self.node('--patroni-version', '4.0.4')
        self.assertEqual(self.patroni()['bootstrap']['dcs']['ttl'], 20)
        self.assertEqual(self.patroni()['postgresql']['parameters']['unrdf.sentinel_release'], 'on')

    def test_fence(self):
        self.node()
        self.assertEqual(self.patroni()['postgresql']['parameters']['unrdf.fence'], 'on')

    def test_another_value(self):
        self.node('--set', 'shared_buffers=8GB')
        self.assertEqual(self.patroni()['bootstrap']['dcs']['postgresql']['parameters']['shared_buffers'], '8GB')

    def test_all_that_patroni_calls_is_there(self):
        self.node()
        for program in ('pre_promote', 'on_role_change'):
            path = os.path.join(self.folder, 'system/usr/local/lib/unrdf', program)
            done = subprocess.run([path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout.split(': ')[0]), (1, "Patroni's postgresql.pre_promote" if program == 'pre_promote' else "Patroni's callback on_role_change"))

    def test_haproxy_takes_its_file(self):
        self.node()
        subprocess.run(['haproxy', '-c', '-f', self.folder + '/system/etc/unrdf/haproxy.cfg'], check=True, stdout=subprocess.DEVNULL,
                       env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})

    def test_passwords_are_not_overwritten(self):
        done = self.run_it('--new-passwords', self.passwords)
        self.refused(done, 'is there already')

    def test_passwords_that_others_can_read(self):
        os.chmod(self.passwords, 0o644)
        self.refused(self.node(), 'can be read by others')

    def test_passwords_that_would_break_the_file(self):
        with open(self.passwords, 'w', encoding='utf-8') as file:
            file.write("superuser_password='\nreplication_password=x\nrewind_password=y\n")
        self.refused(self.node(), 'at least 8 of')

    def test_bad_input(self):
        for options, pattern in (
                (dict(node='pg4'), '--node pg4 is none'), (dict(nodes='pg1=10.0.0.11,pg2=10.0.0.12'), 'names 2'),
                (dict(nodes='pg1,pg2,pg3'), 'name=value'), (dict(network='everybody'), 'like 10.0.0.0/24')):
            with self.subTest(options):
                self.refused(self.node(**options), pattern)
        self.refused(self.node('--set', 'nonsense=1'), 'no such name')
        self.refused(self.node('--bin-dir', '/nowhere/15/bin'), 'no server in')

    def test_every_line_that_is_not_a_default_says_why(self):
        """In bootstrap.dcs every line that sets something has a comment, or one that speaks for it right above."""
        with open(os.path.join(HERE, 'patroni.yml.tmpl'), encoding='utf-8') as file:
            section = re.search(r'^  dcs:\n(.*?)^    postgresql:', file.read(), re.M | re.S).group(1)
        for line in section.splitlines():
            self.assertIn('  # ', line)
