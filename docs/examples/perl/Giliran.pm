package Giliran;

# A client of Giliran in plain Perl 5, without any module that does not come with Perl: what
# docs/wire-protocol.md and docs/schemas say, and the text protocol of NATS.
#
#     my $client = Giliran->connect;
#     my $answer = $client->ask(book => { request_id => …, applicants => […], choices => […] });
#
# `ask` sends the same bytes until an answer settles the request, and dies with a Giliran::Unsettled
# where the patience ends before.

use v5.26;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Time::HiRes qw(sleep time);

# Seconds that an attempt waits for its answer.
use constant ATTEMPT => 2.5;
my %WORTH_A_RETRY = map { $_ => 1 } qw(busy unavailable not_open);

my $JSON = JSON::PP->new->utf8;

# What to do with an answer: `done`; `confirm` it before its hold ends; `wait` for the draw; `gone`,
# this request has no place any more; `again`, the same request after a pause; `stop`.
sub next_step {
    my ($answer, $operation) = @_;
    if ($answer->{outcome} eq 'granted') {
        return { confirmed => 'done', held => 'confirm' }->{ $answer->{booking}{status} } // 'gone';
    }
    return $operation eq 'cancel' ? 'gone' : 'wait' if $answer->{outcome} eq 'entered';
    return $WORTH_A_RETRY{ $answer->{reason} } ? 'again' : 'stop';
}

# Keeps the newest state of each booking.
sub fold {
    my ($bookings, $event) = @_;
    my $booking = $event->{data}{booking} or return;
    my $known = $bookings->{ $booking->{id} };
    $bookings->{ $booking->{id} } = $booking if !$known || $booking->{version} > $known->{version};
}

sub connect {
    my ($class, %options) = @_;
    my $url = $options{url} // $ENV{NATS_URL} // 'nats://127.0.0.1:4222';
    my ($address) = $url =~ m{^(?:nats://)?([^/]+)} or die "not an address: $url\n";
    my $socket = IO::Socket::INET->new(PeerAddr => $address, PeerPort => 4222, Timeout => 10)
        or die "no connection to $address: $!\n";
    my $self = bless {
        socket => $socket,
        select => IO::Select->new($socket),
        prefix => $options{prefix} // $ENV{GILIRAN_PREFIX} // 'giliran.v1',
        inbox  => sprintf('_INBOX.%08x%08x', rand 2**32, rand 2**32),
        buffer => '',
        asked  => 0,
        takes  => {},
    }, $class;
    # Where nobody listens the broker says so with an empty message of status 503, if it is told
    # that this client understands headers.
    my %hello = (verbose => \0, pedantic => \0, headers => \1, no_responders => \1, lang => 'perl',
                 version => '1', name => 'giliran example');
    @hello{qw(user pass)} = ($ENV{NATS_USER}, $ENV{NATS_PASSWORD} // '') if $ENV{NATS_USER};
    $self->send("CONNECT " . $JSON->encode(\%hello) . "\r\n");
    $self->subscribe("$self->{inbox}.*", sub { my ($subject, $status, $headers, $payload) = @_;
        my ($number) = $subject =~ /\.(\d+)$/;
        $self->{answers}{$number} //= { status => $status, payload => $payload };
    });
    return $self;
}

# The answer that settles a request.
sub ask {
    my ($self, $operation, $request, $patience) = @_;
    my $payload = ref $request ? $JSON->encode($request) : $request;
    my ($give_up_at, $tries, @attempts, $why) = (time + ($patience // 60), 0);
    while (1) {
        $tries++;
        my ($pause, $until) = (undef, time + ATTEMPT);
        push @attempts, ++$self->{asked};
        $self->publish("$self->{prefix}.$operation", "$self->{inbox}.$self->{asked}", $payload);
        # A late answer to an earlier attempt is as good as one to the last.
        my ($heard, $left);
        while (!$heard && ($left = ($until < $give_up_at ? $until : $give_up_at) - time) > 0) {
            $self->take($left);
            ($heard) = grep { defined } map { delete $self->{answers}{$_} } @attempts;
        }
        if (!$heard) {
            $why = 'no answer in time';
        } elsif ($heard->{status} eq '503') {
            $why = 'no engine is active';
        } else {
            my $answer = $JSON->decode($heard->{payload});
            # An answer to `availability` has no outcome, unless it is a rejection.
            return $answer if !$answer->{outcome} || next_step($answer, $operation) ne 'again';
            $why = $answer->{reason};
            $pause = $answer->{retry_after_ms} / 1000 * (1 + rand 0.2) if $answer->{retry_after_ms};
        }
        # Where nobody says when: from 0.2 s on, doubled, scattered.
        $pause //= 0.2 * 2**($tries < 5 ? $tries - 1 : 4) * (0.5 + rand);
        die bless { why => "$operation: $why; $tries tries" }, 'Giliran::Unsettled'
            if time + $pause >= $give_up_at;
        sleep $pause;
    }
}

# Calls back with each change of a booking or an entry, once.
sub listen {
    my ($self, $heard) = @_;
    my %known;
    $self->subscribe("$self->{prefix}.feed.events", sub { my ($subject, $status, $headers, $payload) = @_;
        my $told = $JSON->decode($payload);
        return if !defined $told->{first};  # Not the feed's.
        for my $event (@{ $told->{events} }) {
            $heard->($event) if !$known{ $event->{id} }++;
        }
    });
}

# The text protocol of NATS.

sub send {
    my ($self, $bytes) = @_;
    while (length $bytes) {
        my $sent = syswrite($self->{socket}, $bytes) // die "the connection is lost: $!\n";
        substr($bytes, 0, $sent, '');
    }
}

sub publish {
    my ($self, $subject, $reply, $payload) = @_;
    $self->send("PUB $subject $reply " . length($payload) . "\r\n$payload\r\n");
}

# What is subscribed is heard from the moment on that this returns.
sub subscribe {
    my ($self, $subject, $take) = @_;
    my $id = 1 + keys %{ $self->{takes} };
    $self->{takes}{$id} = $take;
    $self->{ponged} = 0;
    $self->send("SUB $subject $id\r\nPING\r\n");
    my $until = time + 10;
    $self->take($until - time) while !$self->{ponged} && time < $until;
    die "the broker does not answer\n" if !$self->{ponged};
}

# Takes what comes within so many seconds, until something has come.
sub take {
    my ($self, $seconds) = @_;
    return if !$self->{select}->can_read($seconds);
    sysread($self->{socket}, $self->{buffer}, 65_536, length $self->{buffer})
        or die "the connection is lost\n";
    while ($self->{buffer} =~ /^([^\r\n]*)\r\n/) {
        my ($line, $begin) = ($1, $+[0]);
        my ($word, @words) = split ' ', $line;
        if ($word eq 'MSG' || $word eq 'HMSG') {
            my $size = $words[-1];
            return if length($self->{buffer}) < $begin + $size + 2;  # The rest is on its way.
            my $body = substr $self->{buffer}, $begin, $size;
            substr($self->{buffer}, 0, $begin + $size + 2, '');
            my $head = $word eq 'HMSG' ? substr($body, 0, $words[-2], '') : '';
            my ($status) = $head =~ m{^NATS/1\.0 (\d+)};
            my %headers = map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $head;
            $self->{takes}{ $words[1] }->($words[0], $status // '', \%headers, $body);
            next;
        }
        substr($self->{buffer}, 0, $begin, '');
        $self->send("PONG\r\n") if $word eq 'PING';
        $self->{ponged} = 1 if $word eq 'PONG';
        die "the broker says: @words\n" if $word eq '-ERR';
    }
}

1;
