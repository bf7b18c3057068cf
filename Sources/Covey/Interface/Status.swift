public import CCovey
import CCoveyPlatform

// How errors of the core leave it: as a status, with the message kept for
// covey_last_error().

extension CoveyError.Kind {
  var status: covey_status {
    switch self {
    case .argument: COVEY_ERROR_ARGUMENT
    case .memory: COVEY_ERROR_MEMORY
    case .io: COVEY_ERROR_IO
    case .format: COVEY_ERROR_FORMAT
    case .version: COVEY_ERROR_VERSION
    case .unsupported: COVEY_ERROR_UNSUPPORTED
    case .capacity: COVEY_ERROR_CAPACITY
    case .cancelled: COVEY_ERROR_CANCELLED
    case .internalError: COVEY_ERROR_INTERNAL
    case .state: COVEY_ERROR_STATE
    }
  }
}

/// Runs the body of an interface function, with numbers that neither trap nor round
/// otherwise because the host has asked for that.
func reporting(_ body: () throws(CoveyError) -> covey_status) -> covey_status {
  var before = cv_float_environment()
  cv_floats_default(&before)
  defer { cv_floats_restore(&before) }
  do throws(CoveyError) {
    return try body()
  } catch {
    var message = error.message
    message.withUTF8 { text in
      text.withMemoryRebound(to: CChar.self) { cv_error_set($0.baseAddress, $0.count) }
    }
    Log.send(.error, error.message)
    return error.kind.status
  }
}

/// The pointer, or an error that names the parameter.
func required<Pointer>(_ pointer: Pointer?, _ name: StaticString) throws(CoveyError) -> Pointer {
  guard let pointer else { throw CoveyError(.argument, "\(name): is NULL") }
  return pointer
}

enum Log {
  enum Level: Int32 {
    case error = 1
    case warning = 2
    case info = 3
    case debug = 4
  }

  static func send(_ level: Level, _ message: @autoclosure () -> String) {
    guard cv_log_wants(level.rawValue) else { return }
    message().withCString { cv_log_send(level.rawValue, $0) }
  }
}

@c @implementation
public func covey_status_string(_ status: covey_status) -> UnsafePointer<CChar>! {
  let text: StaticString =
    switch status {
    case COVEY_OK: "ok"
    case COVEY_AGAIN: "no result yet"
    case COVEY_END: "end of results"
    case COVEY_ERROR_ARGUMENT: "invalid argument"
    case COVEY_ERROR_MEMORY: "out of memory"
    case COVEY_ERROR_IO: "input or output failed"
    case COVEY_ERROR_FORMAT: "not a covey weight file, or damaged"
    case COVEY_ERROR_VERSION: "made for a newer version"
    case COVEY_ERROR_UNSUPPORTED: "not supported by this build"
    case COVEY_ERROR_CAPACITY: "buffer too small"
    case COVEY_ERROR_CANCELLED: "cancelled"
    case COVEY_ERROR_INTERNAL: "internal error"
    case COVEY_ERROR_STATE: "not possible in this state"
    default: "unknown status"
    }
  return cString(text)
}

@c @implementation
public func covey_last_error() -> UnsafePointer<CChar>! {
  cv_error_get()
}

@c @implementation
public func covey_set_log(
  _ log: covey_log_fn!, _ user_data: UnsafeMutableRawPointer!, _ level: covey_log_level
) {
  // The same function type but for the enum, whose size is that of an int32.
  cv_log_set(unsafeBitCast(log, to: cv_log?.self), user_data, Int32(bitPattern: level.rawValue))
}
