#!/usr/bin/perl
# Net::Stomp: stories of a queue's life. Usage: perl net_stomp.pl PORT
use strict;
use warnings;
use Net::Stomp;
use Time::HiRes qw(time);

my $port   = $ARGV[0] || 61613;
my $failed = 0;
my $number = 0;

sub check {
    my ( $what, $ok ) = @_;
    print( ( $ok ? "ok   " : "FAIL " ) . "$what\n" );
    $failed++ unless $ok;
}

sub queue { return "/queue/perl." . int( rand(1e9) ) . "." . $number++ }

# Net::Stomp's ack() knows the message-id; what later versions want besides goes along.
sub acknowledge {
    my ( $stomp, $version, $frame ) = @_;
    my %named = $version eq "1.1" ? ( subscription => "s" ) : $version eq "1.2" ? ( id => $frame->headers->{ack} ) : ();
    $stomp->ack( { frame => $frame, %named } );
}

sub link_up {
    my (%headers) = @_;
    my $stomp = Net::Stomp->new( { hostname => "127.0.0.1", port => $port } );
    my $frame = $stomp->connect( { login => "user", passcode => "secret", %headers } );
    return ( $stomp, $frame );
}

for my $version ( "1.0", "1.1", "1.2" ) {
    my %hello = $version eq "1.0" ? () : ( "accept-version" => $version, host => "localhost" );
    my ( $stomp, $connected ) = link_up(%hello);
    check( "$version connected", $connected->command eq "CONNECTED" && $connected->headers->{version} eq $version );
    my $queue = queue();
    check( "$version send_with_receipt", $stomp->send_with_receipt( { destination => $queue, body => "hello", color => "red" } ) );
    check( "$version send_transactional", $stomp->send_transactional( { destination => $queue, body => "in a transaction" } ) );
    $stomp->subscribe( { destination => $queue, ack => "client", id => "s", "activemq.prefetchSize" => 10 } );
    my $first = $stomp->receive_frame( { timeout => 5 } );
    check( "$version message", $first->body eq "hello" && $first->headers->{color} eq "red" );
    my $second = $stomp->receive_frame( { timeout => 5 } );
    check( "$version committed message", $second->body eq "in a transaction" );
    acknowledge( $stomp, $version, $first );
    acknowledge( $stomp, $version, $second );
    check( "$version no error", !$stomp->can_read( { timeout => 0.3 } ) );
    $stomp->send( { destination => $queue, body => "\0bytes\n\xFF", bytes_message => 1 } );
    my $bytes = $stomp->receive_frame( { timeout => 5 } );
    check( "$version bytes", $bytes->body eq "\0bytes\n\xFF" );
    acknowledge( $stomp, $version, $bytes );
    $stomp->unsubscribe( { destination => $queue, id => "s" } );
    $stomp->disconnect;

    ( $stomp, $connected ) = link_up(%hello);
    $stomp->subscribe( { destination => $queue, id => "s" } );
    check( "$version acknowledged is gone", !$stomp->can_read( { timeout => 0.3 } ) );
    my $begun = time;
    $stomp->send_with_receipt( { destination => queue(), body => "x" } ) for 1 .. 100;
    printf( "     %s %.1f ms per send_with_receipt\n", $version, ( time - $begun ) * 10 );
    $stomp->disconnect;
}
exit( $failed ? 1 : 0 );
