# Ruby's stomp: stories of what ActiveMQ has beyond the specification. It runs against ActiveMQ too
# (with schedulerSupport="true"). Usage: ruby ruby_stomp_activemq.rb PORT
require "securerandom"
require "stomp"
require "timeout"

PORT = (ARGV[0] || 61613).to_i
$failed = 0

def check(what, ok, seen = nil)
  puts "#{ok ? 'ok   ' : 'FAIL '}#{what}#{ok || seen.nil? ? '' : ": #{seen.inspect}"}"
  $failed += 1 unless ok
end

# What the brokers say differently.
def note(what, value)
  puts "     #{what}: #{value.inspect}"
end

def name(kind)
  "/#{kind}/ruby.#{SecureRandom.hex(6)}"
end

# A connection that keeps what is not asked for now.
class Link
  attr_reader :connection

  def initialize(version, client_id = nil)
    headers = version == "1.0" ? {} : { "accept-version" => version, "host" => "localhost" }
    headers["client-id"] = client_id if client_id
    @version = version
    @kept = []
    begin
      @connection = Stomp::Connection.new(
        hosts: [{ login: "user", passcode: "secret", host: "127.0.0.1", port: PORT }],
        connect_headers: headers, reliable: false
      )
    rescue Stomp::Error::BrokerException, Stomp::Error::ConnectReadTimeout
      retry # ActiveMQ frees a client-id a moment after its RECEIPT of DISCONNECT
    end
  end

  def receive
    @kept.shift || @connection.receive
  end

  # Do something with a receipt; return the RECEIPT, or the ERROR instead.
  def ask
    id = SecureRandom.hex(4)
    yield("receipt" => id)
    loop do
      frame = @connection.receive
      return frame if frame.command == "ERROR" || frame.headers["receipt-id"] == id
      @kept << frame
    end
  end

  def subscribe(destination, id, headers = {})
    ask { |receipt| @connection.subscribe(destination, { "id" => id }.merge(headers, receipt), id) }
  end

  def unsubscribe(destination, id, headers = {})
    ask { |receipt| @connection.unsubscribe(destination, { "id" => id }.merge(headers, receipt), id) }
  end

  def publish(destination, body, headers = {})
    ask { |receipt| @connection.publish(destination, body, headers.merge(receipt)) }
  end

  def ack(message, verb = :ack)
    id = @version == "1.2" ? message.headers["ack"] : message.headers["message-id"]
    named = @version == "1.1" ? { "subscription" => message.headers["subscription"] } : {}
    ask { |receipt| @connection.send(verb, id, named.merge(receipt)) }
  end

  # Nothing is on its way but what is returned: a receipt came, and no MESSAGE before or soon after it.
  def quiet?(seconds = 0.4)
    Timeout.timeout(seconds) { @kept << @connection.receive until @kept.any? }
    false
  rescue Timeout::Error
    true
  end

  def leave
    @connection.disconnect("receipt" => "bye")
  end
end

def durable(version)
  topic, client, durable = name("topic"), "ruby-#{SecureRandom.hex(4)}", { "activemq.subscriptionName" => "news", "ack" => "client-individual" }
  client = "news" if version == "1.0" # there ActiveMQ ends the subscription of the client of this name
  reader, writer = Link.new(version, client), Link.new(version)
  reader.subscribe(topic, "d", durable)
  writer.publish(topic, "while there")
  m = reader.receive
  check("#{version} durable: while there", m.body == "while there", m)
  reader.ack(m)
  reader.leave
  3.times { |n| writer.publish(topic, "missed #{n}", "persistent" => "true") }
  reader = Link.new(version, client)
  reader.subscribe(topic, "d", durable)
  missed = 3.times.map { reader.receive }
  check("#{version} durable: what was missed", missed.map(&:body) == ["missed 0", "missed 1", "missed 2"], missed.map(&:body))
  note("#{version} durable: redelivered", missed.map { |each| each.headers["redelivered"] })
  missed.each { |each| reader.ack(each) }
  error = reader.unsubscribe(topic, "d", durable)
  check("#{version} durable: cannot be ended while it is attached", error.command == "ERROR", error)
  note("#{version} durable: error", error.headers["message"])
  check("#{version} durable: detached", reader.unsubscribe(topic, "d").command == "RECEIPT")
  check("#{version} durable: ended", reader.unsubscribe(topic, "d", durable).command == "RECEIPT")
  writer.publish(topic, "after the end", "persistent" => "true")
  reader.subscribe(topic, "again", durable)
  check("#{version} durable: nothing from after its end", reader.quiet?)
  reader.unsubscribe(topic, "again")
  reader.unsubscribe(topic, "again", durable)
  [reader, writer].each(&:leave)
end

def selector(version)
  queue = name("queue")
  a = Link.new(version)
  [["red", 50], ["red", 150], ["blue", 500], ["red", 1000]].each do |color, amount|
    a.publish(queue, "#{color} #{amount}", "color" => color, "amount" => amount.to_s)
  end
  a.subscribe(queue, "s", "selector" => "color = 'red' AND amount > 100")
  found = 2.times.map { a.receive.body }
  check("#{version} selector: what it means, in order", found == ["red 150", "red 1000"] && a.quiet?, found)
  a.unsubscribe(queue, "s")
  a.subscribe(queue, "rest")
  rest = 2.times.map { a.receive.body }
  check("#{version} selector: the rest is still there", rest == ["red 50", "blue 500"] && a.quiet?, rest)
  error = a.subscribe(queue, "bad", "selector" => "color = = 'red'")
  check("#{version} selector: a bad one is an error", error.command == "ERROR", error)
  note("#{version} selector: error", error.headers["message"])
  check("#{version} selector: the link goes on", a.publish(queue, "x").command == "RECEIPT")
  a.leave
end

def request(version)
  queue = name("queue")
  asks, answers, third = Link.new(version), Link.new(version), Link.new(version)
  asks.subscribe("/temp-queue/answers", "a")
  answers.subscribe(queue, "q")
  asks.publish(queue, "2 + 2", "reply-to" => "/temp-queue/answers", "correlation-id" => "c-1")
  question = answers.receive
  to = question.headers["reply-to"]
  check("#{version} request: reply-to is what others may use", to.start_with?("/remote-temp-queue/"), to)
  answers.publish(to, "4", "correlation-id" => question.headers["correlation-id"])
  answer = asks.receive
  check("#{version} request: answered", answer.body == "4" && answer.headers["correlation-id"] == "c-1", answer)
  note("#{version} request: reply-to, destination", [to.sub(/\d.*/, "…"), answer.headers["destination"].sub(/\d.*/, "…")])
  asks.leave
  late = third.publish(to, "too late")
  note("#{version} request: to who has gone", [late.command, late.headers["message"].to_s.sub(/[-:\d].*/, "…")])
  [answers, third].each { |each| each.leave rescue nil }
end

def dead_letters(version)
  queue, mark = name("queue"), SecureRandom.hex(4)
  a = Link.new(version)
  a.publish(queue, "poison", "mark" => mark, "persistent" => "true")
  a.subscribe(queue, "q", "ack" => "client-individual")
  m = a.receive
  check("#{version} dead letter: refused", a.ack(m, :nack).command == "RECEIPT")
  a.subscribe("/queue/ActiveMQ.DLQ", "dlq", "selector" => "mark = '#{mark}'")
  dead = a.receive
  check("#{version} dead letter: is in ActiveMQ.DLQ", dead.body == "poison" && dead.headers["destination"] == "/queue/ActiveMQ.DLQ", dead)
  check("#{version} dead letter: says where it was", dead.headers["original-destination"] == queue, dead.headers)
  check("#{version} dead letter: its own id", dead.headers["message-id"] == m.headers["message-id"], [dead.headers, m.headers])
  note("#{version} dead letter: headers", (dead.headers.keys - m.headers.keys).sort)
  note("#{version} dead letter: cause", dead.headers["dlqDeliveryFailureCause"])
  a.leave
end

def browse(version)
  queue = name("queue")
  a = Link.new(version)
  3.times { |n| a.publish(queue, "message #{n}") }
  a.subscribe(queue, "b", "browser" => "true")
  seen = 4.times.map { a.receive }
  check("#{version} browse: all, in order", seen[0, 3].map(&:body) == ["message 0", "message 1", "message 2"], seen)
  check("#{version} browse: the end is marked", seen[3].headers["browser"] == "end" && seen[3].headers["subscription"] == "b", seen[3])
  note("#{version} browse: browser, end's id", [seen[0].headers["browser"], seen[3].headers["message-id"], seen[3].body])
  a.unsubscribe(queue, "b")
  a.subscribe(queue, "c")
  check("#{version} browse: nothing was taken", 3.times.map { a.receive.body } == seen[0, 3].map(&:body))
  a.leave
end

def delayed(version)
  queue = name("queue")
  a = Link.new(version)
  a.subscribe(queue, "s")
  begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  a.publish(queue, "later", "AMQ_SCHEDULED_DELAY" => "1500", "persistent" => "true")
  a.publish(queue, "now")
  check("#{version} delay: others pass", a.receive.body == "now")
  m = a.receive
  after = Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun
  check("#{version} delay: comes", m.body == "later" && after.between?(1.0, 3.5), [m, after])
  note("#{version} delay: 1.5 s are", after.round(2))
  note("#{version} delay: headers", m.headers.keys.grep(/sched/i))
  repeated = name("queue")
  a.publish(repeated, "tick", "AMQ_SCHEDULED_PERIOD" => "200", "AMQ_SCHEDULED_REPEAT" => "2", "AMQ_SCHEDULED_DELAY" => "200")
  a.subscribe(repeated, "r")
  check("#{version} delay: repeated", 3.times.map { a.receive.body } == %w[tick tick tick] && a.quiet?(1.5))
  a.leave
end

def wildcards(version)
  root = name("topic")
  a = Link.new(version)
  a.subscribe("#{root}.*", "one")
  a.subscribe("#{root}.>", "all")
  a.publish("#{root}.x", "x")
  a.publish("#{root}.x.y", "x.y")
  a.publish(root, "root")
  got = 4.times.map { a.receive }.map { |m| [m.headers["subscription"], m.headers["destination"].sub(root, ""), m.body] }
  check("#{version} wildcard: * is one element, > all and the root", got.sort == [["all", "", "root"], ["all", ".x", "x"], ["all", ".x.y", "x.y"], ["one", ".x", "x"]] && a.quiet?, got)
  a.leave
end

def composite(version)
  queue, topic = name("queue"), name("topic")
  a = Link.new(version)
  a.subscribe(topic, "t")
  a.subscribe(queue, "q")
  a.publish("#{queue},#{topic}", "both")
  got = 2.times.map { a.receive }
  check("#{version} composite: a copy for each", got.map { |m| [m.headers["subscription"], m.body] }.sort == [["q", "both"], ["t", "both"]], got)
  note("#{version} composite: original-destination", got.map { |m| m.headers["original-destination"] ? "there" : nil })
  consumer = "/queue/Consumer.ruby.VirtualTopic.#{SecureRandom.hex(4)}"
  a.subscribe(consumer, "v")
  a.publish(consumer.sub("/queue/Consumer.ruby.", "/topic/"), "virtual")
  check("#{version} virtual topic: reaches its consumer's queue", a.receive.body == "virtual")
  a.leave
end

def exclusive(version)
  queue = name("queue")
  first, second, writer = Link.new(version), Link.new(version), Link.new(version)
  first.subscribe(queue, "s", "activemq.exclusive" => "true", "ack" => "client-individual")
  second.subscribe(queue, "s", "activemq.exclusive" => "true", "ack" => "client-individual")
  4.times { |n| writer.publish(queue, "job #{n}") }
  held = 4.times.map { first.receive }
  check("#{version} exclusive: one gets all", held.map(&:body) == ["job 0", "job 1", "job 2", "job 3"] && second.quiet?, held)
  held[0, 2].each { |m| first.ack(m) }
  first.leave
  rest = 2.times.map { second.receive }
  check("#{version} exclusive: then the next one", rest.map(&:body) == ["job 2", "job 3"], rest)
  note("#{version} exclusive: redelivered", rest.map { |m| m.headers["redelivered"] })
  rest.each { |m| second.ack(m) }
  [second, writer].each(&:leave)
end

def groups(version)
  queue = name("queue")
  links = 2.times.map { Link.new(version) }
  links.each { |each| each.subscribe(queue, "s") }
  writer = Link.new(version)
  6.times { |n| %w[a b].each { |group| writer.publish(queue, "#{group}#{n}", "JMSXGroupID" => group) } }
  got = links.map { |each| found = []; found << each.receive until each.quiet?; found }
  whose = got.map { |found| found.map { |m| m.body[0] }.uniq }
  check("#{version} groups: a consumer for each", whose.flatten.sort == %w[a b] && whose.all?(&:one?), whose)
  check("#{version} groups: in order", got.flatten.group_by { |m| m.body[0] }.values.all? { |found| found.map { |m| m.body[1].to_i } == (0..5).to_a })
  note("#{version} groups: first for consumer", got.map { |found| found.map { |m| m.headers["JMSXGroupFirstForConsumer"] } })
  note("#{version} groups: JMSXGroupID", got.map { |found| found.first&.headers&.fetch("JMSXGroupID", nil) })
  (links << writer).each(&:leave)
end

STORIES = { "1.0" => %i[durable selector request composite wildcards exclusive],
            "1.1" => %i[durable selector request dead_letters browse delayed wildcards composite exclusive groups] }
STORIES["1.2"] = STORIES["1.1"]
STORIES.each do |version, stories|
  stories.each do |story|
    Timeout.timeout(30) { send(story, version) }
  rescue StandardError => e
    check("#{version} #{story}", false, e)
  end
end
exit($failed.zero? ? 0 : 1)
