"""The templates, filled in: for the nodes of a real cluster (configure) and for a local one (local/).

A template is text with $names (string.Template: one that has no value is an error). Lines from "# block NAME" to "# end"
belong to a block that can be left out.
"""
import os
import re
import string
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))

# ttl, loop_wait, retry_timeout; loop_wait + 2 * retry_timeout <= ttl is Patroni's own rule
TTL_SETS = {
    't5': dict(ttl=5, loop_wait=1, retry_timeout=2, fence_silence=0, sentinel_release='off'),
    't8': dict(ttl=8, loop_wait=1, retry_timeout=3, fence_silence=0, sentinel_release='off'),
    't20': dict(ttl=20, loop_wait=1, retry_timeout=3, fence_silence='2s', sentinel_release='on'),
}


def ttl_set_for(version):
    """The set for a version of Patroni, like '3.0.2': from 3.2 on it takes no ttl below 20."""
    major, minor = (int(number) for number in re.match(r'(\d+)\.(\d+)', version).groups())
    return 't20' if (major, minor) >= (3, 2) else 't5'


def patroni_program():
    """The Patroni that is run: UNRDF_PATRONI, to try another, or Debian's."""
    return os.environ.get('UNRDF_PATRONI') or '/usr/bin/patroni'


def installed_patroni():
    """Its version."""
    said = subprocess.run([patroni_program(), '--version'], check=True, stdout=subprocess.PIPE, text=True).stdout
    return said.split()[-1]


def without_blocks(text, left_out):
    """The text without the lines of these blocks, and without the marks of the others."""
    lines, block = [], None
    for line in text.splitlines(keepends=True):
        mark = re.match(r'# block (\w+)$', line)
        if mark:
            block = mark.group(1)
        elif line == '# end\n':
            block = None
        elif block not in left_out:
            lines.append(line)
    return ''.join(lines)


def render(name, values, left_out=()):
    """A template of this folder, filled in."""
    with open(os.path.join(HERE, name + '.tmpl'), encoding='utf-8') as file:
        return string.Template(without_blocks(file.read(), left_out)).substitute(values)


def node_values(scope, name, addresses, ttl_set):
    """What follows from the cluster's name, the name of one node, and all nodes' addresses, a dict by name."""
    others = [node for node in addresses if node != name]
    nearest = [addresses[node] for node in [name] + others]
    return dict(
        TTL_SETS[ttl_set], scope=scope, name=name, address=addresses[name],
        etcd_hosts='[%s]' % ', '.join("'%s:2379'" % address for address in nearest),
        dcs_urls=','.join('http://%s:2379' % address for address in nearest),
        etcd_cluster=','.join('%s=http://%s:2380' % (node, addresses[node]) for node in addresses),
        haproxy_servers='\n'.join('    server %s %s:5432 check port 8008' % (node, addresses[node]) for node in addresses),
        peers=' '.join('%s:5432' % addresses[node] for node in others))
