# Ruby's stomp: stories of a queue's life. Usage: ruby ruby_stomp.rb PORT
require "securerandom"
require "stomp"
require "timeout"

PORT = (ARGV[0] || 61613).to_i
$failed = 0

def check(what, ok)
  puts "#{ok ? 'ok   ' : 'FAIL '}#{what}"
  $failed += 1 unless ok
end

def queue
  "/queue/test/ruby/stomp/#{SecureRandom.hex(6)}"
end

def open(version, more = {})
  headers = version == "1.0" ? {} : { "accept-version" => version, "host" => "localhost" }
  Stomp::Connection.new(
    hosts: [{ login: "user", passcode: "secret", host: "127.0.0.1", port: PORT }],
    connect_headers: headers.merge(more), reliable: false
  )
end

def ack(connection, version, message, headers = {})
  id = version == "1.2" ? message.headers["ack"] : message.headers["message-id"]
  named = version == "1.1" ? { "subscription" => message.headers["subscription"] } : {}
  connection.ack(id, named.merge(headers))
end

%w[1.0 1.1 1.2].each do |version|
  Timeout.timeout(30) do
    c = open(version)
    check("#{version} protocol", c.protocol == version)
    check("#{version} session", !c.connection_frame.headers["session"].to_s.empty?)
    q = queue
    c.publish(q, "hello", "color" => "red", "receipt" => "r1")
    r = c.receive
    check("#{version} receipt", r.command == "RECEIPT" && r.headers["receipt-id"] == "r1")
    c.subscribe(q, { "ack" => "client", "id" => "s" }, "s")
    m = c.receive
    check("#{version} message", m.body == "hello" && m.headers["color"] == "red" && m.headers["subscription"] == "s")
    ack(c, version, m, "receipt" => "r2")
    check("#{version} ack", c.receive.headers["receipt-id"] == "r2")

    body = "\0binary\n\xFF".dup.force_encoding("BINARY")
    c.publish(q, body)
    m = c.receive
    check("#{version} binary body", m.body.b == body)
    ack(c, version, m)
    if version != "1.0"
      value = "colon: backslash\\ and\nline"
      c.publish(q, "x", "key" => value)
      m = c.receive
      check("#{version} escapes", [m.headers["key"]].flatten.first == value)
      c.nack(version == "1.2" ? m.headers["ack"] : m.headers["message-id"], "subscription" => "s", "receipt" => "n")
      check("#{version} nack", c.receive.headers["receipt-id"] == "n")
    end
    c.unsubscribe(q, { "id" => "s" }, "s")

    c.begin("t")
    c.publish(q, "in", "transaction" => "t")
    c.commit("t")
    c.begin("u")
    c.publish(q, "out", "transaction" => "u")
    c.abort("u")
    c.subscribe(q, { "id" => "s2" }, "s2")
    check("#{version} transaction", c.receive.body == "in")
    check("#{version} poll finds nothing", c.poll.nil?)
    500.times { |n| c.publish(q, "message #{n}") }
    check("#{version} 500 messages", (0...500).all? { |n| c.receive.body == "message #{n}" })

    c.commit("never begun")
    e = c.receive
    check("#{version} error", e.command == "ERROR" && e.headers["message"].include?("Invalid transaction id"))
    c.publish(q, "still here")
    check("#{version} goes on", c.receive.body == "still here")
    c.disconnect("receipt" => "bye")
    check("#{version} disconnect", c.disconnect_receipt.headers["receipt-id"] == "bye")
  end
end

%w[1.1 1.2].each do |version|
  Timeout.timeout(30) do
    c = open(version, "heart-beat" => "500,500")
    check("#{version} heart-beats agreed", c.hbsend_interval > 0 && c.hbrecv_interval > 0)
    sleep 3
    q = queue
    c.subscribe(q, { "id" => "s" }, "s")
    c.publish(q, "alive")
    check("#{version} alive after three seconds", c.receive.body == "alive" && c.hbrecv_count.to_i > 2)
    c.disconnect
  end
end

Timeout.timeout(30) do
  client = Stomp::Client.new("user", "secret", "127.0.0.1", PORT)
  q = queue
  got = Queue.new
  client.subscribe(q, "ack" => "client") { |m| client.acknowledge(m); got << m.body }
  3.times { |n| client.publish(q, "job #{n}") }
  check("Client with acknowledge", 3.times.map { got.pop } == ["job 0", "job 1", "job 2"])
  client.close
end
exit($failed.zero? ? 0 : 1)
