import CCoveyPlatform
import Foundation
import Testing

@testable import Covey

/// A German locale made for the test, and nil where that cannot be done.
private let commaLocales: String? = {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("covey-locale-\(UUID().uuidString)")
  try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = [
    "localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder.appendingPathComponent("comma").path,
  ]
  process.standardError = FileHandle.nullDevice
  process.standardOutput = FileHandle.nullDevice
  guard (try? process.run()) != nil else { return nil }
  process.waitUntilExit()
  return process.terminationStatus == 0 ? folder.path : nil
}()

@Suite struct NumberTextTests {
  /// Swift's own description is the shortest that reads back; the exponent is
  /// written in another way, so numbers are compared and lengths.
  @Test func shortestThatReadsBack() {
    var random = SeededRandom(seed: 5)
    for _ in 0..<20_000 {
      let float = Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
      if float.isFinite {
        let text = NumberText.of(float)
        #expect(Float(text) == float, "\(text)")
        #expect(digits(text) <= max(digits("\(float)"), 6), "\(text), not \(float)")
      }
      let double = Double(bitPattern: random.next())
      if double.isFinite {
        let text = NumberText.of(double)
        #expect(Double(text) == double, "\(text)")
        #expect(digits(text) <= max(digits("\(double)"), 15), "\(text), not \(double)")
      }
    }
  }

  /// Those that count.
  private func digits(_ text: String) -> Int {
    let mantissa = text.prefix { $0 != "e" }.filter(\.isNumber).drop { $0 == "0" }
    return String(mantissa).reversed().drop { $0 == "0" }.count
  }

  @Test func plainNumbersLookPlain() {
    #expect(NumberText.of(Float(0.1)) == "0.1")
    #expect(NumberText.of(0.1) == "0.1")
    #expect(NumberText.of(Float(1)) == "1")
    #expect(NumberText.of(-0.0) == "-0")
    #expect(NumberText.of(Float(1e-6)) == "1e-06")
    #expect(NumberText.of(Float.leastNonzeroMagnitude) == "1.4013e-45")
    #expect(NumberText.of(Float(16_777_216)) == "16777216")
    #expect(NumberText.of(1.0 / 3) == "0.3333333333333333")
    #expect(NumberText.of(Double.nan).hasSuffix("nan"))
    #expect(NumberText.of(-Float.infinity) == "-inf")
  }

  @Test func tooSmallABufferGivesNothing() {
    var text = [CChar](repeating: 0, count: 16)
    #expect(cv_format_double(0.125, &text, 5) == 0)
    #expect(cv_format_double(0.125, &text, 6) == 5)
    #expect(cv_format_float(0.125, &text, 5) == 0)
    #expect(cv_format_float(0.125, &text, 6) == 5)
    #expect(text.prefix(6) == [48, 46, 49, 50, 53, 0])
  }

  /// The locale belongs to the process, so in one of its own.
  @Test(.enabled(if: commaLocales != nil, "no localedef, or no de_DE to make one from"))
  func decimalCommasStayOutside() async throws {
    let folder = try #require(commaLocales)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    await #expect(processExitsWith: .success) { [folder = folder as String] in
      setenv("LOCPATH", folder, 1)
      precondition(setlocale(LC_ALL, "comma") != nil)
      var plain = [CChar](repeating: 0, count: 32)
      withVaList([1.5]) { _ = vsnprintf(&plain, 32, "%g", $0) }
      precondition(plain.prefix(4) == [49, 44, 53, 0], "the locale has no comma")
      precondition(NumberText.of(1.5) == "1.5")
      precondition(NumberText.of(Float(0.1)) == "0.1")
      precondition(NumberText.of(1.0 / 3) == "0.3333333333333333")
      precondition(NumberText.of(-1.25e-9) == "-1.25e-09")
    }
  }
}

@Suite struct ErrorTextTests {
  private func set(_ text: String) -> String {
    let bytes = Array(text.utf8).map { CChar(bitPattern: $0) }
    cv_error_set(bytes, bytes.count)
    return String(cString: cv_error_get())
  }

  @Test func keptAsItIs() {
    #expect(set("") == "")
    #expect(set("schön") == "schön")
    let longest = String(repeating: "x", count: 1023)
    #expect(set(longest) == longest)
  }

  /// Cut between characters of one to four bytes, at every offset.
  @Test(arguments: ["a", "é", "€", "🐦"])
  func cutBetweenCharacters(character: String) {
    let size = character.utf8.count
    for lead in 0..<8 {
      let text = String(repeating: "-", count: lead) + String(repeating: character, count: 1100)
      let kept = set(text)
      #expect(kept == String(text.unicodeScalars.prefix(lead + (1023 - lead) / size)))
      #expect(kept.utf8.count > 1023 - size && kept.utf8.count <= 1023)
    }
  }

  /// What one thread set is not another's.
  @Test func belongsToTheThread() {
    _ = set("mine")
    let done = DispatchSemaphore(value: 0)
    nonisolated(unsafe) var seen = ["?", "?"]
    Thread {
      seen[0] = String(cString: cv_error_get())
      cv_error_set("theirs", 6)
      seen[1] = String(cString: cv_error_get())
      done.signal()
    }.start()
    done.wait()
    #expect(seen == ["", "theirs"])
    #expect(String(cString: cv_error_get()) == "mine")
  }
}
