"""etcd, by its JSON gateway: what the guard, the callback and the local cluster's driver ask it.

Reads are quorum reads. Endpoints are tried in order; an answer that says no is an answer, silence and errors are not.
"""
import base64
import http.client
import json
import socket
import ssl
import urllib.parse


class DcsError(Exception):
    """No endpoint gave an answer."""


def encode(text):
    return base64.b64encode(text.encode()).decode()


def decode(text):
    return base64.b64decode(text).decode()


class Value:
    """A key's value, the revision in which it was written, and the lease that it hangs on ('' for none)."""

    def __init__(self, pair):
        self.text = decode(pair.get('value', ''))
        self.revision = int(pair['mod_revision'])
        self.lease = pair.get('lease', '')


class Etcd:
    """endpoints: 'http://host:port' or https; connect(address, timeout) makes a TCP connection; tls: an ssl.SSLContext."""

    def __init__(self, endpoints, timeout=1.0, connect=socket.create_connection, tls=None, token=None):
        self.endpoints, self.timeout, self.connect, self.tls, self.token = endpoints, timeout, connect, tls, token

    def ask(self, endpoint, path, body, method='POST'):
        """One endpoint's answer to one request."""
        url = urllib.parse.urlsplit(endpoint)
        address = (url.hostname, url.port or 2379)
        try:
            link = http.client.HTTPConnection(*address, timeout=self.timeout)
            link.sock = self.connect(address, self.timeout)
            if url.scheme == 'https':
                link.sock = (self.tls or ssl.create_default_context()).wrap_socket(link.sock, server_hostname=url.hostname)
            headers = {'Authorization': self.token} if self.token else {}
            link.request(method, path, json.dumps(body) if method == 'POST' else None, headers)
            answer = link.getresponse()
            text = answer.read()
            link.close()
            if answer.status != 200:
                raise DcsError('%s%s: status %d: %s' % (endpoint, path, answer.status, text.decode(errors='replace').strip()[:200]))
            return json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DcsError('%s%s: %s' % (endpoint, path, error)) from error

    def call(self, path, body):
        """The first answer that an endpoint gives."""
        errors = []
        for endpoint in self.endpoints:
            try:
                return self.ask(endpoint, path, body)
            except DcsError as error:
                errors.append(str(error))
        raise DcsError('; '.join(errors) or 'no endpoints')

    def log_in(self, user, password):
        self.token = self.call('/v3/auth/authenticate', {'name': user, 'password': password})['token']

    def get(self, key, revision=0):
        """The Value of a key, or None; as it was in an older revision, if one is named."""
        pairs = self.call('/v3/kv/range', {'key': encode(key), 'revision': str(revision)}).get('kvs')
        return Value(pairs[0]) if pairs else None

    def put_if(self, key, revision, text):
        """Writes a key if nobody has since the revision named; says whether."""
        return bool(self.call('/v3/kv/txn', {
            'compare': [{'key': encode(key), 'target': 'MOD', 'mod_revision': str(revision)}],
            'success': [{'request_put': {'key': encode(key), 'value': encode(text)}}]}).get('succeeded'))

    def status(self, endpoint):
        """The endpoint's own member id and the one of etcd's leader, as it sees it."""
        answer = self.ask(endpoint, '/v3/maintenance/status', {})
        return answer['header']['member_id'], answer.get('leader', '0')

    def is_healthy(self, endpoint):
        try:
            return self.ask(endpoint, '/health', None, 'GET').get('health') in ('true', True)
        except DcsError:
            return False

    def leads(self, endpoint):
        try:
            own, leader = self.status(endpoint)
            return own == leader
        except DcsError:
            return False

    def move_leader(self, endpoint, member_id):
        """Has the leader, which is at this endpoint, hand over to another member."""
        self.ask(endpoint, '/v3/maintenance/transfer-leadership', {'targetID': member_id})
