#!/usr/bin/env php
<?php
// A page that wants a job done: it sends the job and is over. job_send.php [tcp://127.0.0.1:61613 [destination [text]]]
$stomp = new Stomp($argv[1] ?? "tcp://127.0.0.1:61613");
$destination = $argv[2] ?? "/queue/inbox"; // at a peer: /peer/site-b/queue/inbox
$id = bin2hex(random_bytes(16)); // to be kept, in the session for one: the next request asks by it
$sent = $stomp->send($destination, $argv[3] ?? "one coffee", [
    "persistent" => "true", "content-type" => "text/plain;charset=utf-8", "receipt" => $id, // true: it is on disk here
    "report" => "processed", "correlation-id" => $id, // its status is kept
    "dedup-id" => $id, // so that to send it again is safe
]);
if (!$sent) {
    fwrite(STDERR, $stomp->error() . "\n");
    exit(1);
}
echo "$id\n";
