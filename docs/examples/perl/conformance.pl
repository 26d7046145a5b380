#!/usr/bin/env perl
# Lets `giliran conformance` ask the client beside it: a line in, a line out.
#
#     giliran conformance -- perl conformance.pl

use v5.26;
use warnings;

use FindBin qw($Bin);
use JSON::PP;
use Time::HiRes qw(time);
use lib $Bin;

use Binary;
use Giliran;

my $json = JSON::PP->new->utf8;
my ($client, @events);
sub connected { return $client //= Giliran->connect }

# An answer, and what to do with it.
sub told {
    my ($answer, $operation) = @_;
    return { answer => $answer, $answer->{outcome} ? (then => Giliran::next_step($answer, $operation)) : () };
}

sub of_booking {
    my ($id) = @_;
    return grep { $_->{data}{booking} && $_->{data}{booking}{id} eq $id } @events;
}

my %does = (
    start => sub {
        connected();
        return {};
    },
    write => sub {
        my ($line) = @_;
        my ($operation, $request) = @$line{qw(operation request)};
        my $bytes = $line->{form} eq 'binary'
            ? Giliran::Binary::write_request($operation, $request) : $json->encode($request);
        return { subject => "$ENV{GILIRAN_PREFIX}.$operation", bytes => unpack 'H*', $bytes };
    },
    read => sub {
        my ($line) = @_;
        my $bytes = pack 'H*', $line->{bytes};
        my ($answer) = $line->{form} eq 'binary'
            ? Giliran::Binary::read_answers($line->{operation}, $bytes) : $json->decode($bytes);
        return told($answer, $line->{operation});
    },
    fold => sub {
        my ($line) = @_;
        my %bookings;
        Giliran::fold(\%bookings, $json->decode(pack 'H*', $_)) for @{ $line->{events} };
        return { bookings => \%bookings };
    },
    ask => sub {
        my ($line) = @_;
        my $answer = eval { connected()->ask(@$line{qw(operation request)}, $line->{patience_ms} / 1000) };
        return told($answer, $line->{operation}) if $answer;
        return { unsettled => $@->{why} } if ref $@ eq 'Giliran::Unsettled';
        die $@;
    },
    listen => sub {
        connected()->listen(sub { push @events, $_[0] });
        return {};
    },
    heard => sub {
        my ($line) = @_;
        my $until = time + $line->{within_ms} / 1000;
        connected()->take($until - time) while of_booking($line->{booking}) < $line->{number} && time < $until;
        connected()->take(0.2);  # What is too much comes soon.
        return { events => [of_booking($line->{booking})] };
    },
);

$| = 1;
while (my $text = <STDIN>) {
    my $line = $json->decode($text);
    my $do = $does{ $line->{do} };
    my $told = $do ? eval { $do->($line) } // { error => "$@" } : { cannot => "$line->{do}: not by this client" };
    say $json->encode($told);
}
