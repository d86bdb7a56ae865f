#!/usr/bin/env php
<?php
// Whoever does the jobs, one after the other, until it is killed. job_inbox.php [tcp://127.0.0.1:61613 [queue]]
// STOMP 1.2, for 1.0 has no NACK; php-stomp passes on the header `id` that it wants.
$stomp = new Stomp($argv[1] ?? "tcp://127.0.0.1:61613", "", "", ["accept-version" => "1.2", "host" => "localhost"]);
$stomp->subscribe($argv[2] ?? "/queue/inbox", ["id" => "1", "ack" => "client-individual", "activemq.prefetchSize" => "1"]);

/** Do a job. Throws what cannot be done, now or ever. */
function work(string $text): void
{
    echo "Working on: $text\n";
    $text === "" && throw new DomainException("an empty job");
}

while (!$stomp->error()) {
    $message = $stomp->readFrame();
    if (!$message) {
        continue; // nobody has sent anything for a while
    }
    $its = ["id" => $message->headers["ack"]];
    try {
        work((string) $message->body);
        $stomp->ack($message, $its); // PROCESSED
    } catch (DomainException $error) {
        $stomp->nack($message, $its + ["requeue" => "false", "reason" => $error->getMessage()]); // FAILED
    } catch (Throwable $error) {
        $stomp->nack($message, $its + ["requeue" => "true", "delay" => "5000"]); // again, in five seconds
    }
}
fwrite(STDERR, $stomp->error() . "\n");
exit(1); // whoever supervises this program starts it again
