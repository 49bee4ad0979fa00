# An etcd of one member on loopback, and a few of its keys, through the same JSON gateway that the server uses. It ends with the
# test.
package Etcd;

use strict;
use warnings;

use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);

my @started;

END { local $?; $_->stop for @started }

# Starts one in a folder of its own below the test's.
sub new
{
	my ($class, $name) = @_;
	my $self = bless { dir => "$PostgreSQL::Test::Utils::tmp_check/$name", port => PostgreSQL::Test::Cluster::get_free_port(),
		peer => PostgreSQL::Test::Cluster::get_free_port() }, $class;

	$self->{url} = "http://127.0.0.1:$self->{port}";
	$self->start;
	push @started, $self;
	return $self;
}

sub start
{
	my ($self) = @_;
	my $peer = "http://127.0.0.1:$self->{peer}";
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	$self->{process} = IPC::Run::start([ 'etcd', '--data-dir', $self->{dir}, '--listen-client-urls', $self->{url}, '--advertise-client-urls', $self->{url},
		'--listen-peer-urls', $peer, '--initial-advertise-peer-urls', $peer, '--initial-cluster', "default=$peer",
		# a lease lasts at least one and a half elections
		'--heartbeat-interval', '50', '--election-timeout', '300' ], '<', \'', '>', "$self->{dir}.out", '2>', "$self->{dir}.err");
	until (eval { $self->get('x'); 1 })
	{
		die "etcd does not answer: $@" if time() > $until;
		usleep(20_000);
	}
	return;
}

sub stop
{
	my ($self) = @_;

	return if !$self->{process};
	$self->{process}->signal('KILL');
	eval { $self->{process}->finish };
	delete $self->{process};
	return;
}

sub signal
{
	my ($self, $signal) = @_;

	$self->{process}->signal($signal);
	return;
}

sub call
{
	my ($self, $path, $request) = @_;
	my $answer = HTTP::Tiny->new(timeout => 5)->post("$self->{url}/v3/$path", { content => encode_json($request) });

	die "etcd: $path: $answer->{status} $answer->{content}" if !$answer->{success};
	return decode_json($answer->{content});
}

# A key's value; undef where there is none.
sub get
{
	my ($self, $key) = @_;
	my ($kv) = @{ $self->call('kv/range', { key => encode_base64($key, '') })->{kvs} // [] };

	return $kv ? decode_base64($kv->{value} // '') : undef;
}

# The revision of a key's last change.
sub revision
{
	my ($self, $key) = @_;

	return $self->call('kv/range', { key => encode_base64($key, '') })->{kvs}[0]{mod_revision};
}

# Writes a key that lasts for some seconds, or for ever.
sub put
{
	my ($self, $key, $value, $seconds) = @_;
	my %lease = $seconds ? (lease => $self->call('lease/grant', { TTL => $seconds })->{ID}) : ();

	$self->call('kv/put', { key => encode_base64($key, ''), value => encode_base64($value, ''), %lease });
	return;
}

sub delete
{
	my ($self, $key) = @_;

	$self->call('kv/deleterange', { key => encode_base64($key, '') });
	return;
}

1;
