import CCoveyPlatform
import Foundation
import Synchronization
import Testing

@testable import Covey

/// A folder that is gone when the body has ended.
private func withFolder(_ body: (URL) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("covey-platform-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder)
}

@Suite struct ThreadPoolTests {
  /// Every index once, whatever the count; worker 0 is the caller.
  @Test(arguments: 1...8)
  func everyIndexOnce(threads: Int) throws {
    let pool = try ThreadPool(threads: threads)
    #expect(pool.threads == threads)
    let caller = pthread_self()
    for count in [0, 1, 2, 3, threads, 17, 1000, 50_000] {
      let calls = try Buffer<Int32>(max(count, 1), for: "test")
      calls.fill(0)
      let base = calls.base
      let wrong = Atomic<Int>(0)
      pool.run(count) { index, worker in
        // Each index has a place of its own: were one called twice, or at the
        // same time, its count would tell.
        base[index] += 1
        let isCaller = pthread_equal(pthread_self(), caller) != 0
        if worker < 0 || worker >= threads || isCaller != (worker == 0) {
          wrong.wrappingAdd(1, ordering: .relaxed)
        }
      }
      #expect((0..<count).allSatisfy { calls[$0] == 1 }, "\(threads) threads, \(count)")
      #expect(wrong.load(ordering: .relaxed) == 0)
    }
  }

  /// Many short runs, and all that one wrote is seen by the next: the sum can
  /// only be right if run returns after its last task.
  @Test(arguments: [1, 2, 3, 8])
  func manyRuns(threads: Int) throws {
    let pool = try ThreadPool(threads: threads)
    let cells = try Buffer<Int>(7, for: "test")
    cells.fill(0)
    let base = cells.base
    for round in 0..<3000 {
      pool.run(7) { index, _ in
        // Neighbours were written by other workers in the round before.
        base[index] = max(base[index], round) + 1
      }
      if round % 500 == 0 { usleep(2000) }  // long enough for workers to sleep
    }
    #expect((0..<7).allSatisfy { cells[$0] == 3000 })
  }

  /// No worker runs two tasks at once: its scratch is its own.
  @Test func workersDoNotShareTheirNumber() throws {
    let pool = try ThreadPool(threads: 4)
    let busy = try Buffer<Int32>(4, for: "test")
    busy.fill(0)
    let base = busy.base
    let wrong = Atomic<Int>(0)
    pool.run(20_000) { _, worker in
      base[worker] += 1
      if base[worker] != 1 { wrong.wrappingAdd(1, ordering: .relaxed) }
      base[worker] -= 1
    }
    #expect(wrong.load(ordering: .relaxed) == 0)
    withExtendedLifetime(busy) {}
  }

  @Test func manyPoolsComeAndGo() throws {
    for round in 0..<60 {
      let pool = try ThreadPool(threads: 1 + round % 5)
      let sum = Atomic<Int>(0)
      if round % 3 != 0 { pool.run(10) { index, _ in sum.wrappingAdd(index, ordering: .relaxed) } }
      #expect(sum.load(ordering: .relaxed) == (round % 3 == 0 ? 0 : 45))
    }
    #expect(try ThreadPool(threads: 0).threads == Int(cv_core_count()))
    #expect(cv_core_count() >= 1)
  }
}

/// Files as control groups have them, of version 2, of version 1 as a container sees it and as
/// the machine does.
@Suite struct CoreQuotaTests {
  static let v1 = "11:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/x\n0::/system\n"

  struct Groups: Sendable {
    let lines: String
    let files: [String: String]
    let cores: Int32
  }

  static let cases = [
    Groups(lines: "0::/\n", files: ["cpu.max": "max 100000"], cores: 0),
    Groups(lines: "0::/\n", files: ["cpu.max": "250000 100000"], cores: 3),
    Groups(
      lines: "0::/a/b\n", files: ["a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"],
      cores: 2),
    Groups(
      lines: "0::/a/b\n", files: ["cpu.max": "100 100", "a/b/cpu.max": "700000 100000"], cores: 1),
    Groups(
      lines: v1,
      files: ["cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"],
      cores: 2),
    Groups(
      lines: v1,
      files: [
        "cpu/docker/ab/cpu.cfs_quota_us": "400000", "cpu/docker/ab/cpu.cfs_period_us": "100000",
        "memory/docker/ab/cpu.max": "1 1",
      ], cores: 4),
    Groups(
      lines: v1, files: ["cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"], cores: 0),
    Groups(
      lines: v1,
      files: ["cpu/cpu.cfs_quota_us": "9223372036854775807", "cpu/cpu.cfs_period_us": "2"],
      cores: 0),
    Groups(
      lines: "1:cpuset:/a\n", files: ["cpuset/cpu.max": "1 1", "cpu.max": "1 1"], cores: 0),
    Groups(lines: "damaged", files: ["cpu.max": "1 1"], cores: 0),
    Groups(lines: "::", files: ["cpu.max": "nothing"], cores: 0),
  ]

  @Test(arguments: cases)
  func quotas(_ groups: Groups) throws {
    try WeightFileSample.withFolder { folder in
      let root = "\(folder)/sys"
      for (name, text) in groups.files {
        let url = URL(fileURLWithPath: "\(root)/\(name)")
        try FileManager.default.createDirectory(
          at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try "\(text)\n".write(to: url, atomically: false, encoding: .utf8)
      }
      try groups.lines.write(toFile: "\(folder)/groups", atomically: false, encoding: .utf8)
      #expect(cv_core_quota("\(folder)/groups", root) == groups.cores)
      #expect(cv_core_quota("\(folder)/none", root) == 0)
    }
  }
}

@Suite struct BufferTests {
  private func refusal(_ body: () throws -> Void) -> CoveyError? {
    do {
      try body()
      return nil
    } catch {
      return error as? CoveyError
    }
  }

  @Test func accounting() throws {
    let budget = Budget(limit: 1000)
    do {
      let a = try Buffer<Float>(100, budget: budget, for: "a")
      #expect((budget.current, budget.peak) == (400, 400))
      #expect(UInt(bitPattern: a.base) % 64 == 0)
      let b = try Buffer<UInt64>(75, budget: budget, for: "b")
      #expect((budget.current, budget.peak) == (1000, 1000))
      let error = refusal { _ = try Buffer<UInt8>(1, budget: budget, for: "c") }
      #expect(error?.kind == .memory)
      #expect(error?.message == "c: needs 1 bytes beside 1000 in use, the limit is 1000")
      #expect(budget.current == 1000)
      a.fill(2)
      b.fill(3)
      #expect(a[99] == 2 && b[74] == 3 && a.byteCount == 400)
    }
    #expect((budget.current, budget.peak) == (0, 1000))
    let empty = try Buffer<Float>(0, budget: budget, for: "nothing")
    #expect(empty.byteCount == 0 && budget.current == 0)
  }

  /// Refused, not trapped on.
  @Test(arguments: [Int.max, .max / 4 + 1, .max / 8 + 1, -1, .min, 1 << 60])
  func sizesBeyondAllMemory(count: Int) {
    for budget in [nil, Budget()] {
      let error = refusal { _ = try Buffer<Float>(count, budget: budget, for: "much") }
      #expect(error?.kind == .memory)
      #expect(error?.message.hasPrefix("much: ") == true)
      #expect(budget?.current ?? 0 == 0)
    }
  }

  @Test func limitsAtTheEnds() throws {
    let none = Budget(limit: 0)
    #expect(refusal({ try none.take(1, for: "x") })?.kind == .memory)
    try none.take(0, for: "x")
    let all = Budget()
    try all.take(.max, for: "x")
    #expect(refusal({ try all.take(1, for: "x") })?.kind == .memory)
    all.giveBack(.max)
    #expect((all.current, all.peak) == (0, .max))
  }
}

@Suite struct MonitorTests {
  /// At the ends of a stage always, between them at most every 10 ms, with
  /// fractions that never fall.
  @Test func reportsAreThrottledAndRise() throws {
    let pool = try ThreadPool(threads: 4)
    var reports: [(stage: Stage, fraction: Float, time: Int64)] = []
    var elsewhere = 0
    let caller = pthread_self()
    let monitor = Monitor { stage, fraction in
      if pthread_equal(pthread_self(), caller) == 0 { elsewhere += 1 }
      reports.append((stage, fraction, cv_clock_nanoseconds()))
      return true
    }
    for stage in [Stage.encode, .cluster] {
      monitor.begin(stage, total: 400)
      pool.run(400) { _, worker in
        usleep(300)
        monitor.advance(worker: worker)
      }
      try monitor.end()
    }
    #expect(elsewhere == 0)
    for stage in [Stage.encode, .cluster] {
      let own = reports.filter { $0.stage == stage }
      #expect(own.first?.fraction == 0 && own.last?.fraction == 1)
      for (a, b) in zip(own, own.dropFirst()) {
        #expect(a.fraction <= b.fraction && b.fraction <= 1)
      }
      for (a, b) in zip(own, own.dropFirst().dropLast()) {
        #expect(b.time - a.time >= 9_000_000)
      }
      // 400 tasks of 0.3 ms on up to four threads take at least 30 ms.
      #expect(own.count >= 3 && own.count <= 50)
    }
  }

  @Test func moreWorkThanAnnouncedIsStillAllOfIt() throws {
    var fractions: [Float] = []
    let monitor = Monitor { _, fraction in
      fractions.append(fraction)
      return true
    }
    monitor.begin(.merge, total: 0)
    monitor.advance(10, worker: 1)
    try monitor.end()
    monitor.begin(.assign, total: 2)
    monitor.advance(10, worker: 1)
    try monitor.end()
    #expect(fractions == [0, 1, 0, 1])
  }

  @Test func oneCancelEndsOneCall() throws {
    let flag = CancelFlag()
    flag.set()
    let first = Monitor(flag: flag)
    #expect(first.isCancelled)
    do throws(CoveyError) {
      try first.check()
      Issue.record("went on")
    } catch {
      #expect(error.kind == .cancelled)
    }
    #expect(!flag.isSet)
    try Monitor(flag: flag).check()
  }

  /// A callback that says stop is not called again, and its no holds for its
  /// own call only.
  @Test func cancelledByTheCallback() throws {
    let flag = CancelFlag()
    var calls = 0
    let monitor = Monitor(flag: flag) { _, _ in
      calls += 1
      return false
    }
    try monitor.check()
    monitor.begin(.cluster, total: 3)
    #expect(monitor.isCancelled && calls == 1)
    monitor.advance(worker: 0)
    #expect(throws: CoveyError.self) { try monitor.end() }
    #expect(calls == 1)
    #expect(throws: CoveyError.self) { try monitor.check() }
    try Monitor(flag: flag).check()
  }

  /// At the report that all is done, too.
  @Test func cancelledAtTheEnd() {
    let monitor = Monitor { _, fraction in fraction < 1 }
    monitor.begin(.cluster, total: 3)
    #expect(!monitor.isCancelled)
    #expect(throws: CoveyError.self) { try monitor.end() }
  }
}

@Suite struct FileTests {
  private func write(_ writer: OpaquePointer?, _ text: String) -> Int32 {
    Array(text.utf8).withUnsafeBytes { cv_writer_write(writer, $0.baseAddress, $0.count) }
  }

  private func names(_ folder: URL) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
  }

  @Test func appearsWholeOrNotAtAll() throws {
    try withFolder { folder in
      let path = folder.appendingPathComponent("file").path
      try "old".write(toFile: path, atomically: false, encoding: .utf8)
      func content() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

      var writer: OpaquePointer?
      #expect(cv_writer_open(path, &writer) == 0)
      #expect(write(writer, "half of it") == 0)
      #expect(try content() == "old")
      #expect(try names(folder).count == 2)
      cv_writer_abandon(writer)
      #expect(try content() == "old")
      #expect(try names(folder) == ["file"])

      #expect(cv_writer_open(path, &writer) == 0)
      #expect(write(writer, "new ") == 0 && write(writer, "text") == 0)
      #expect(try content() == "old")
      #expect(cv_writer_commit(writer) == 0)
      #expect(try content() == "new text")
      #expect(try names(folder) == ["file"])
    }
  }

  @Test func refusesWhatCannotBeWritten() throws {
    try withFolder { folder in
      var writer: OpaquePointer?
      #expect(cv_writer_open(folder.path, &writer) == EISDIR)
      #expect(cv_writer_open("/dev/null", &writer) == EINVAL)
      #expect(cv_writer_open(folder.appendingPathComponent("none/file").path, &writer) == ENOENT)
      #expect(writer == nil)
      let left = try names(folder)
      #expect(left.isEmpty)
    }
  }

  @Test func reading() throws {
    try withFolder { folder in
      let path = folder.appendingPathComponent("file").path
      for copy in [false, true] {
        var file = cv_file()
        #expect(cv_file_open(path, copy, &file) == ENOENT)
        #expect(cv_file_open(folder.path, copy, &file) == EISDIR)
        #expect(cv_file_open("/dev/null", copy, &file) == EINVAL)
        try Data("some text".utf8).write(to: URL(fileURLWithPath: path))
        #expect(cv_file_open(path, copy, &file) == 0)
        #expect(Data(bytes: file.bytes!, count: file.size) == Data("some text".utf8))
        #expect(file.mapped == !copy)
        cv_file_close(&file)
        #expect(file.bytes == nil)
        try Data().write(to: URL(fileURLWithPath: path))
        #expect(cv_file_open(path, copy, &file) == 0)
        #expect(file.bytes == nil && file.size == 0)
        cv_file_close(&file)
        try FileManager.default.removeItem(atPath: path)
      }
    }
  }

  @Test func systemErrorsHaveWords() {
    func text(_ capacity: Int) -> String {
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) {
        $0.update(repeating: 1)
        cv_errno_text(ENOENT, $0.baseAddress, capacity)
        return String(cString: $0.baseAddress!)
      }
    }
    #expect(text(256) == "No such file or directory")
    #expect(text(8) == "No such")
  }
}
