#!/usr/bin/env php
<?php
// The next request of that page: it asks what became of a job. job_status.php ID [seconds to wait [tcp://127.0.0.1:61613]]
[, $id, $wait] = $argv + [1 => "", 2 => "0"];
$stomp = new Stomp($argv[3] ?? "tcp://127.0.0.1:61613");
$stomp->subscribe("/temp-queue/answers", ["ack" => "auto"]);
$asked = ["jsonrpc" => "2.0", "method" => "tracked", "params" => ["id" => $id, "wait" => (float) $wait], "id" => 1];
$stomp->send("/queue/rpc.broker", json_encode($asked), [
    "content-type" => "application/json", "reply-to" => "/temp-queue/answers", "persistent" => "false",
]);
$stomp->setReadTimeout((int) $wait + 10);
$message = $stomp->readFrame() ?: throw new Exception($stomp->error() ?: "The broker does not answer");
$answer = json_decode($message->body, true);
if (isset($answer["error"])) {
    fwrite(STDERR, $answer["error"]["message"] . "\n");
    exit(1);
}
echo $answer["result"]["status"], "\n";
foreach ($answer["result"]["parts"] as $part) {
    echo "  $part[destination]: $part[status]", isset($part["cause"]) ? " ($part[cause])" : "", "\n";
}
