"""What the guard and the callback need to know, out of Patroni's own configuration: file and environment, merged as Patroni does.

Passwords are never on a command line: they are where Patroni has them.
"""
import ssl

import dcs


def read(path):
    from patroni.config import Config  # Debian's module, not this folder
    return Config(path)


def sync_key(config):
    """Who has every acknowledged commit, as Patroni notes it."""
    return '/%s/%s/sync' % (config.get('namespace', '/service/').strip('/'), config['scope'])


def own_server(config):
    """Where this node's server is: folder of its socket and port, or address and port."""
    postgresql = config['postgresql']
    port = postgresql['listen'].rsplit(':', 1)[1]
    folder = (postgresql.get('parameters') or {}).get('unix_socket_directories', '').split(',')[0].strip()
    return folder or postgresql['connect_address'].rsplit(':', 1)[0], port


def replication_login(config):
    login = config['postgresql']['authentication']['replication']
    return {name: value for name, value in (
        ('user', login.get('username')), ('password', login.get('password')), ('sslmode', login.get('sslmode')),
        ('sslrootcert', login.get('sslrootcert')), ('sslcert', login.get('sslcert')), ('sslkey', login.get('sslkey'))) if value}


def etcd(config, timeout=0.7):
    """etcd, as section etcd3 describes it."""
    section = config['etcd3']
    hosts = section.get('hosts') or [section['host']]
    hosts = [host.strip() for host in (hosts.split(',') if isinstance(hosts, str) else hosts)]
    scheme = section.get('protocol', 'http')
    tls = None
    if scheme == 'https':
        tls = ssl.create_default_context(cafile=section.get('cacert'))
        if section.get('cert'):
            tls.load_cert_chain(section['cert'], section.get('key'))
    api = dcs.Etcd(['%s://%s' % (scheme, host) for host in hosts], timeout, tls=tls)
    if section.get('username'):
        api.log_in(section['username'], section['password'])
    return api
